//! What operators see: metrics, health, logs. Served on a port of its own, which buyers do not reach.

mod health;
mod meter;
mod server;
mod tasks;
mod telemetry;

pub(crate) use health::{HealthReport, Readiness};
pub(crate) use meter::PrometheusMeter;
pub(crate) use server::{Monitoring, exposition, health_endpoint};
pub(crate) use tasks::TaskCount;
pub(crate) use telemetry::{InvalidLog, init_logging};
