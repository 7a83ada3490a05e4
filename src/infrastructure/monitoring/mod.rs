//! Metrics, health and logs for operators, on a separate port that buyers cannot reach.
//!
//! - [`server`]: the endpoints. [`health`]: all checks and their overall result. [`telemetry`]: logs; [`slow_statements`]: those
//!   of statements. [`openmetrics`]: metrics with exemplars.
//! - [`reload_status`]: the last reload of the configuration.
//! - [`business_metrics`], [`live`], [`sale_cache`], [`tasks`]: metrics; each adapter has a file of its own for its metrics.

mod business_metrics;
mod health;
mod live;
mod openmetrics;
mod reload_status;
mod sale_cache;
mod server;
mod slow_statements;
mod tasks;
mod telemetry;

pub(crate) use business_metrics::PrometheusBusinessMetrics;
pub(crate) use health::{HealthReport, Readiness};
pub(crate) use live::register_live_listeners;
pub(crate) use reload_status::{ReloadOutcome, ReloadStatus};
pub(crate) use sale_cache::SaleCacheMetrics;
pub(crate) use server::{Monitoring, exposition, health_endpoint};
pub(crate) use slow_statements::SlowStatements;
pub(crate) use tasks::TaskCount;
pub(crate) use telemetry::{InvalidLog, LogLevel, init_logging};
