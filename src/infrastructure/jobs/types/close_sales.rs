//! `close_sales`: writes the reports of sales that have ended, each with the event of its end.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::payload::{Handler, JobError, Limits, Payload};
use crate::application::sale_report::CloseSale;

/// The payload.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CloseSales {}

impl Payload for CloseSales {
    const NAME: &'static str = "close_sales";
    const TAKES: &'static str = "{}";
    const LIMITS: Limits = Limits::ONE_AT_A_TIME;
}

/// Writes them.
pub(crate) struct RunCloseSales {
    close_sale: Arc<CloseSale>,
}

impl RunCloseSales {
    pub(crate) fn new(close_sale: Arc<CloseSale>) -> Self {
        Self { close_sale }
    }
}

#[async_trait]
impl Handler<CloseSales> for RunCloseSales {
    async fn run(&self, _: CloseSales) -> Result<(), JobError> {
        for sale in self.close_sale.execute().await? {
            tracing::info!(%sale, "sale closed: its report is stored");
        }
        Ok(())
    }
}
