//! ROOMDOC

pub(crate) mod rows;
pub(crate) mod store;
