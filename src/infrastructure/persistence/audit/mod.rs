//! ROOMDOC

pub(crate) mod buyer_totals;
pub(crate) mod checks;
pub(crate) mod inspector;
pub(crate) mod refusals;
