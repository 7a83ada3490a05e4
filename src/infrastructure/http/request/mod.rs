//! Parsing of requests: [`head`] (size and [`framing`]), [`version`], [`path`], [`params`] (the query) with [`paging`],
//! [`json_body`] with its [`json`] values, and the headers [`accept`], [`idempotency_key`] and [`conditions`]. One response
//! has all errors of the parameters, headers and body.

pub(crate) mod accept;
pub(crate) mod conditions;
pub(crate) mod framing;
pub(crate) mod head;
pub(crate) mod idempotency_key;
pub(crate) mod json;
pub(crate) mod json_body;
pub(crate) mod paging;
pub(crate) mod params;
pub(crate) mod path;
pub(crate) mod version;
