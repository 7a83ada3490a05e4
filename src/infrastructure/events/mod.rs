//! What is measured of the delivery of events.
//!
//! - [`metrics`]: what all sinks share. [`webhook_metrics`]: what only webhooks have.

pub(crate) mod metrics;
pub(crate) mod webhook_metrics;

pub(crate) use metrics::PrometheusEventMetrics;
pub(crate) use webhook_metrics::PrometheusDeliveryMetrics;
