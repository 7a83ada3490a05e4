//! Jobs and schedules.
//!
//! - [`tend`]: what a worker does every moment besides running jobs. [`lease`]: whether its jobs are still its own.
//! - [`retry_dead`]: puts the dead jobs back, however many there are.
//! - [`run_schedules`]: enqueues what is due. [`change_schedules`]: what operators do with schedules.

pub mod change_schedules;
pub mod lease;
pub mod retry_dead;
pub mod run_schedules;
pub mod tend;
