//! Runs jobs with River (the crate `riverqueue`), on tables in the same database.
//!
//! River claims jobs, runs them on their slots, and records success. It has a leader that makes jobs due, rescues and deletes them;
//! that is left off, because it goes by the clock of its own machine, gives up jobs of types that only a newer release knows, and
//! rescues the jobs of a dead worker only after their timeout. The port `WorkerJobs` does all that by PostgreSQL's clock, in a second.
//!
//! - [`types`]: a file for each type of job, with its payload and what runs it. [`known`]: the types by name.
//! - [`attempt`]: one attempt of a job, however it ends. [`desk`]: how ends are recorded and reported. [`ahead`]: slots, and what is
//!   claimed before one is free. [`runner`]: a worker from start to stop. [`metrics`]: what is counted.

pub(crate) mod ahead;
pub(crate) mod attempt;
pub(crate) mod desk;
pub(crate) mod known;
pub(crate) mod metrics;
pub(crate) mod runner;
pub(crate) mod types;

pub(crate) use ahead::Turns;
pub(crate) use desk::Desk;
pub(crate) use known::KnownTypes;
pub(crate) use metrics::JobMetrics;
pub(crate) use runner::{Handlers, InvalidWorkers, Runner, RunnerSettings};
pub(crate) use types::close_sales::RunCloseSales;
pub(crate) use types::drop_sales::RunDropSales;
pub(crate) use types::noop::RunNoop;
pub(crate) use types::prune_jobs::RunPruneJobs;
pub(crate) use types::prune_keys::RunPruneKeys;
pub(crate) use types::rebuild_filter::RunRebuildFilter;
