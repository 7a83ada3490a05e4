//! The composition root, the only place that names concrete adapters.
//!
//! - [`service`]: the service from start to stop. [`error`]: why it cannot start.
//! - [`context`]: what the parts are built from. [`components`]: adapters and use cases; [`selling`]: the two that sell;
//!   [`limits`]: the bounds of their queues.
//! - [`background`]: background tasks; [`closing`]: the close of ended sales. [`deliveries`]: events on their way to the sinks.
//! - [`servers`]: the two ports. [`task_groups`]: how tasks run and stop.
//! - [`instance`]: the name of one run. [`signals`]: SIGTERM and SIGINT. [`pause`]: waiting. [`offline`]: what commands other than
//!   `serve` use; [`webhooks`]: those about webhooks.

mod background;
mod closing;
mod components;
mod context;
mod deliveries;
mod error;
mod instance;
mod limits;
mod offline;
mod pause;
mod selling;
mod servers;
mod service;
mod signals;
mod task_groups;
mod webhooks;

pub(crate) use crate::infrastructure::http::openapi_document as openapi;
pub(crate) use offline::{Offline, migrate_schema};
#[cfg(feature = "bench")]
pub(crate) use selling::{MakeSelling, one_by_one};
pub(crate) use service::serve;
#[cfg(feature = "bench")]
pub(crate) use service::serve_with;
