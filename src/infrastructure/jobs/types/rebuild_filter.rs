//! `rebuild_filter`: builds the sold-out filter of a sale anew from PostgreSQL, or of all open sales.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::payload::{Handler, JobError, Limits, Payload, SaleText};
use crate::application::rebuild_filter::{RebuildFilter, Rebuilt};

/// The payload.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RebuildFilterPayload {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sale_id: Option<SaleText>,
}

impl Payload for RebuildFilterPayload {
    const NAME: &'static str = "rebuild_filter";
    const TAKES: &'static str = r#"{"sale_id": "S-1"}, or {} for all open sales"#;
    const LIMITS: Limits = Limits::ONE_AT_A_TIME;
}

/// Builds it.
pub(crate) struct RunRebuildFilter {
    rebuild: Arc<RebuildFilter>,
}

impl RunRebuildFilter {
    pub(crate) fn new(rebuild: Arc<RebuildFilter>) -> Self {
        Self { rebuild }
    }
}

#[async_trait]
impl Handler<RebuildFilterPayload> for RunRebuildFilter {
    async fn run(&self, payload: RebuildFilterPayload) -> Result<(), JobError> {
        let sale = payload.sale_id.map(|SaleText(sale)| sale);
        match self.rebuild.now(sale).await? {
            Rebuilt::Sales(_) => Ok(()),
            Rebuilt::NotOpen(sale) => Err(JobError::Permanent(format!("{sale} is not open"))),
        }
    }
}
