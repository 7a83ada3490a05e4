//! Schedules: [`store`] keeps them, [`runs`] enqueues their jobs in the transaction that moves them on. [`row`]: a row as a schedule.

pub(crate) mod row;
pub(crate) mod runs;
pub(crate) mod store;
