//! Retention: old sales are archived, and their partitions dropped (`migrations/0025_retention.sql` says how).
//!
//! - [`archive`]: from expired sales to archived ones. [`partitions`]: from archived sales to dropped tables.

pub(crate) mod archive;
mod partitions;
mod tests;

use std::time::Duration;

use async_trait::async_trait;

use crate::application::ports::{ExpiredSale, Partition, PortError, Retention};
use crate::domain::ids::SaleId;
use crate::infrastructure::persistence::pool::database::Database;

/// Archives sales, and drops their partitions.
pub(crate) struct PostgresRetention {
    database: Database,
}

impl PostgresRetention {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }
}

#[async_trait]
impl Retention for PostgresRetention {
    async fn expired(&self, keep: Duration) -> Result<Vec<ExpiredSale>, PortError> {
        archive::expired(&self.database, keep).await
    }

    async fn archive(
        &self,
        keep: Duration,
        sales: &[SaleId],
        actor: &str,
    ) -> Result<Vec<SaleId>, PortError> {
        archive::archive(&self.database, keep, (sales, actor)).await
    }

    async fn empty_partitions(&self) -> Result<Vec<Partition>, PortError> {
        partitions::seal(&self.database).await
    }

    async fn drop_partition(&self, partition: Partition) -> Result<bool, PortError> {
        partitions::drop_tables(&self.database, partition).await
    }
}
