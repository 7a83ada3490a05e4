//! ROOMDOC

pub(crate) mod contention;
pub(crate) mod ctid;
#[cfg(any(test, feature = "bench"))]
pub(crate) mod direct;
pub(crate) mod lines;
pub(crate) mod partitions;
pub(crate) mod recent_writes;
pub(crate) mod session;
pub(crate) mod splitting;
