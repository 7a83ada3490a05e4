//! Audits: reads for `flash-sale verify`, and the record of refusals.
//!
//! - [`inspector`]: runs the [`checks`], which are SQL, within a [`scope`], after [`counts`] that prove most of them. [`buyer_totals`]: what buyers have collected and bought, to
//!   compare with Redis.
//! - [`refusals`]: writes refusals and their totals; [`refusal_details`] the details, both [`by_sale`].

pub(crate) mod buyer_totals;
mod by_sale;
pub(crate) mod checks;
pub(crate) mod counts;
pub(crate) mod inspector;
pub(crate) mod refusal_details;
pub(crate) mod refusals;
pub(crate) mod scope;
