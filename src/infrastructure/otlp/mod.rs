//! Sends spans to a collector, by OTLP: protobuf over HTTP.
//!
//! [`queue`]: what waits, with its bound. [`exporter`]: the task that sends it. [`collector`]: one exchange. [`metrics`].

mod collector;
mod exporter;
mod metrics;
mod queue;

pub(crate) use exporter::{TraceError, trace_to};
