//! ROOMDOC

pub(crate) mod guards;
pub(crate) mod plans;
