//! Spans of what the service does: a kit that every adapter may use. Nothing here sends anything.
//!
//! - [`sampling`] decides at the head of a request whether it is traced, before there is a span. [`header`] reads and writes the
//!   W3C context. [`mod@span`] makes spans below the current one. [`exemplars`] leads from
//!   metrics to traces.
//!
//! The current span travels with the future that it belongs to. Where nothing is traced, a span costs one load of an atomic, and
//! where this request is not, the look at a thread-local.

mod exemplars;
mod header;
mod sampling;
mod span;

pub(crate) use exemplars::{Exemplar, Exemplars};
pub(crate) use sampling::Sampling;
pub(crate) use span::{
    Ids, Kind, Link, Root, Spanned, current_ids, current_link, fail, in_span, install, span,
    span_of_batch, span_with,
};
