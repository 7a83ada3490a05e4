//! Runs jobs.
//!
//! - [`types`]: a file for each type of job, with its payload and what runs it. [`known`]: the types by name.
//! - [`lane`]: the jobs of one queue, what is claimed ahead, and slots. [`attempt`]: one attempt, however it ends.
//! - [`worker`]: what attempts share, and how their ends are recorded and reported. [`runner`]: a worker from start to stop.
//! - [`metrics`]: what is counted.

pub(crate) mod attempt;
#[cfg(test)]
mod fake_attempts;
pub(crate) mod known;
pub(crate) mod lane;
pub(crate) mod metrics;
pub(crate) mod runner;
pub(crate) mod types;
pub(crate) mod worker;

pub(crate) use known::KnownTypes;
pub(crate) use metrics::JobMetrics;
pub(crate) use runner::{Handlers, NoHandler, Runner, RunnerSettings};
pub(crate) use types::close_sales::RunCloseSales;
pub(crate) use types::drop_sales::RunDropSales;
pub(crate) use types::noop::RunNoop;
pub(crate) use types::prune_jobs::RunPruneJobs;
pub(crate) use types::prune_keys::RunPruneKeys;
pub(crate) use types::rebuild_filter::RunRebuildFilter;
pub(crate) use worker::{JobWorker, RECORDS, WorkerPorts};
