//! `drop_sales`: archives sales that ended longer ago than `retention.keep`, and drops their partitions.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::payload::{Handler, JobError, Limits, Payload};
use crate::application::drop_sales::DropSales;

/// A run rests between large tables, for minutes in all. It ends before the schedule's next one, which drops what is left.
const LONGEST_RUN: Duration = Duration::from_mins(45);

/// A run that fails so often is dead, and shows: the next hour's does what is left.
const ATTEMPTS: u16 = 3;

/// The payload.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "DropSales", deny_unknown_fields)]
pub(crate) struct DropSalesPayload {}

impl Payload for DropSalesPayload {
    const NAME: &'static str = "drop_sales";
    const TAKES: &'static str = "{}";
    const LIMITS: Limits =
        Limits { attempts: Some(ATTEMPTS), timeout: Some(LONGEST_RUN), ..Limits::ONE_AT_A_TIME };
}

/// Drops them.
pub(crate) struct RunDropSales {
    drop_sales: Arc<DropSales>,
    /// Whom the audit names.
    actor: String,
}

impl RunDropSales {
    pub(crate) fn new(drop_sales: Arc<DropSales>, actor: String) -> Self {
        Self { drop_sales, actor }
    }
}

#[async_trait]
impl Handler<DropSalesPayload> for RunDropSales {
    async fn run(&self, _: DropSalesPayload) -> Result<(), JobError> {
        let done = self.drop_sales.execute(&self.actor).await?;
        if !done.archived.is_empty() {
            tracing::info!(sales = done.archived.len(), kept = done.kept.len(), "sales archived");
        }
        for partition in done.dropped {
            let (first, last) = (partition.first, partition.last);
            tracing::info!(first, last, "the tables of archived sales are dropped");
        }
        for partition in done.in_use {
            let (first, last) = (partition.first, partition.last);
            tracing::info!(
                first,
                last,
                "tables of archived sales are in use: the next run drops them"
            );
        }
        Ok(())
    }
}
