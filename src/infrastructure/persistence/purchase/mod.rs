//! ROOMDOC

pub(crate) mod batch;
pub(crate) mod history;
pub(crate) mod ledger;
pub(crate) mod outcomes;
pub(crate) mod rows;
pub(crate) mod sql;
