//! The adapters, one folder per technology. A folder imports the layers below and its own section of the configuration,
//! never a sibling, except for the kits [`batching`], [`circuit`] and [`traces`], which all may share.
//!
//! - [`http`]: the API. [`persistence`]: PostgreSQL. [`cache`]: Redis. [`monitoring`]: metrics, health checks, logs.
//!   [`nats`]: events to JetStream. [`webhooks`]: the client of endpoints. [`events`]: what is measured of deliveries.
//!   [`jobs`]: River's workers. [`schedule`]: cron. [`signing`]: MACs of codes and cursors. [`chart`]: pictures of sales, as SVG.
//!   [`imports`]: items in files. [`tokens`]: JSON Web Tokens of buyers. [`read_cache`]: cached reads, in this process and shared.
//!   [`otlp`]: spans to a collector. [`traces`]: spans of requests.

pub(crate) mod batching;
pub(crate) mod cache;
pub(crate) mod chart;
pub(crate) mod circuit;
pub(crate) mod events;
pub(crate) mod http;
pub(crate) mod imports;
pub(crate) mod jobs;
pub(crate) mod monitoring;
pub(crate) mod nats;
pub(crate) mod otlp;
pub(crate) mod persistence;
pub(crate) mod read_cache;
pub(crate) mod schedule;
pub(crate) mod signing;
pub(crate) mod tokens;
pub(crate) mod traces;
pub(crate) mod webhooks;
