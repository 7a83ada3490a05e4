//! `prune_keys`: deletes idempotency keys that are older than `idempotency.keep`.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::payload::{Handler, JobError, Limits, Payload};
use crate::application::ports::IdempotencyStore;

/// The payload.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PruneKeys {}

impl Payload for PruneKeys {
    const NAME: &'static str = "prune_keys";
    const TAKES: &'static str = "{}";
    const LIMITS: Limits = Limits::ONE_AT_A_TIME;
}

/// Deletes them.
pub(crate) struct RunPruneKeys {
    keys: Arc<dyn IdempotencyStore>,
}

impl RunPruneKeys {
    pub(crate) fn new(keys: Arc<dyn IdempotencyStore>) -> Self {
        Self { keys }
    }
}

#[async_trait]
impl Handler<PruneKeys> for RunPruneKeys {
    async fn run(&self, _: PruneKeys) -> Result<(), JobError> {
        self.keys.prune().await?;
        Ok(())
    }
}
