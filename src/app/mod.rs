//! The composition root, the only place that names concrete adapters.
//!
//! - [`service`]: the service from start to stop. [`error`]: why it cannot start.
//! - [`context`]: what the parts are built from. [`components`]: all of them; [`cell`]: those of one database; [`shared`]: those that
//!   databases share; [`use_cases`]: what HTTP uses; `two_cells`: a test; [`selling`]: the two that sell; [`limits`]: the bounds of their queues.
//! - [`background`]: background tasks; [`closing`]: what becomes of ended sales. [`deliveries`]: events on their way to the sinks;
//!   [`low_priority`]: the thread that delivers them.
//! - [`servers`]: the ports. [`admin`]: what operators use over HTTP. [`access`]: who may buy, and how often. [`task_groups`]: how
//!   tasks run and stop.
//! - [`workers`]: job workers and schedules. [`offline_jobs`]: what the commands `job` and `schedule` use.
//! - [`instance`]: the name of one run. [`signals`]: SIGTERM and SIGINT. [`slow_statements`]: their log.
//!   [`reload`]: changes of the configuration. [`pause`]: waiting. [`offline`]: what commands other than
//!   `serve` use; [`webhooks`]: those about webhooks; [`explain`]: that about plans; [`returns`]: those about purchases and
//!   buyers; [`read_cache`]: those about the read cache.

mod access;
mod admin;
mod background;
mod cell;
mod closing;
mod components;
mod context;
mod deliveries;
mod error;
mod explain;
mod instance;
mod limits;
mod low_priority;
mod offline;
mod offline_jobs;
mod pause;
mod read_cache;
mod reload;
mod returns;
mod selling;
mod servers;
mod service;
mod shared;
mod signals;
mod slow_statements;
mod task_groups;
mod two_cells;
mod use_cases;
mod webhooks;
mod workers;

pub(crate) use crate::infrastructure::http::admin_document as admin_openapi;
pub(crate) use crate::infrastructure::http::openapi_document as openapi;
pub(crate) use explain::{ExplainFailure, explain_statements};
pub(crate) use offline::{Offline, migrate_schema};
pub(crate) use offline_jobs::OfflineJobs;
pub(crate) use read_cache::ReadCacheSweep;
#[cfg(feature = "bench")]
pub(crate) use selling::{MakeSelling, one_by_one};
#[cfg(feature = "bench")]
pub(crate) use service::serve_with;
pub(crate) use service::{serve, work};
pub(crate) use signals::Signals;
