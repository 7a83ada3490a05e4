//! `prune_jobs`: deletes jobs that were done longer ago than `jobs.keep_done`, and dead ones after `jobs.keep_dead`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::payload::{Handler, JobError, Limits, Payload};
use crate::application::ports::JobRepair;
use crate::config::Setting;

/// The payload.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PruneJobs {}

impl Payload for PruneJobs {
    const NAME: &'static str = "prune_jobs";
    const TAKES: &'static str = "{}";
    const LIMITS: Limits = Limits::ONE_AT_A_TIME;
}

/// Deletes them.
pub(crate) struct RunPruneJobs {
    jobs: Arc<dyn JobRepair>,
    keep_done: Setting<Duration>,
    keep_dead: Setting<Duration>,
}

impl RunPruneJobs {
    pub(crate) fn new(
        jobs: Arc<dyn JobRepair>,
        keep_done: Setting<Duration>,
        keep_dead: Setting<Duration>,
    ) -> Self {
        Self { jobs, keep_done, keep_dead }
    }
}

#[async_trait]
impl Handler<PruneJobs> for RunPruneJobs {
    async fn run(&self, _: PruneJobs) -> Result<(), JobError> {
        self.jobs.prune(self.keep_done.get(), self.keep_dead.get()).await?;
        Ok(())
    }
}
