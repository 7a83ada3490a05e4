//! ROOMDOC

pub(crate) mod attempt_ids;
pub(crate) mod batch;
pub(crate) mod rows;
pub(crate) mod sql;
pub(crate) mod store;
