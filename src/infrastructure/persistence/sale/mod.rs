//! ROOMDOC

pub(crate) mod items;
pub(crate) mod store;
