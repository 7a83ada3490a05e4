//! Middleware around the handlers, from the outside in: [`observe`] ([`request_id`], [`metrics`], [`access_log`] with its
//! [`log_budget`], the headers of [`protection`] and [`sunset`]), [`cors`], [`compression`], [`limits`] of head and body,
//! [`version`]. [`auth_metrics`]: how credentials were judged.

pub(crate) mod access_log;
pub(crate) mod auth_metrics;
pub(crate) mod compression;
pub(crate) mod cors;
pub(crate) mod limits;
pub(crate) mod log_budget;
pub(crate) mod metrics;
pub(crate) mod observe;
pub(crate) mod protection;
pub(crate) mod request_id;
pub(crate) mod sunset;
pub(crate) mod version;
