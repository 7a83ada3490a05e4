//! Reads stored outcomes, without a lock and beside the batches that decide: all requests of a sale that wait share a statement, so a
//! storm of repeats of one code is one look-up at a time.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use async_trait::async_trait;

use super::outcomes::{self, STORED};
use crate::application::ports::{OutcomeStore, PastPurchase, PortError};
use crate::domain::ids::{AttemptId, SaleId};
use crate::domain::purchase::Outcome;
use crate::infrastructure::batching::{Batch, BatchWork};
use crate::infrastructure::persistence::batch::failure::same_failure;
use crate::infrastructure::persistence::partitions::Partitions;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::metrics::Statement;

/// The name of what is read in errors of the port.
pub(super) const WHAT: &str = "the outcome";

/// The stored outcome of an attempt, if it has one.
type Found = Result<Option<Outcome>, PortError>;

/// Reads the outcomes of attempts.
pub(crate) struct OutcomeReader {
    database: Database,
    partitions: Partitions<1>,
}

impl OutcomeReader {
    pub(crate) fn new(database: Database) -> Self {
        Self { database, partitions: Partitions::new([STORED]) }
    }

    /// The stored outcome of an attempt, if it has one.
    #[cfg(any(test, feature = "bench"))]
    pub(crate) async fn one(
        &self,
        sale: SaleId,
        attempt: AttemptId,
    ) -> Result<Option<Outcome>, PortError> {
        Ok(self.all(sale, &[attempt.get()]).await?.remove(&attempt))
    }

    async fn all(
        &self,
        sale: SaleId,
        attempts: &[i64],
    ) -> Result<HashMap<AttemptId, Outcome>, PortError> {
        let statement = (Statement::ReadOutcomes, WHAT);
        let stored = self.partitions.read(
            &self.database,
            statement,
            sale,
            |mut connection, statements| async move {
                outcomes::stored(&mut connection, statements.get(0), sale, attempts).await
            },
        );
        let stored = stored.await?.into_iter();
        Ok(stored.map(|stored| (stored.attempt, stored.outcome)).collect())
    }
}

#[async_trait]
impl OutcomeStore for OutcomeReader {
    async fn outcomes(
        &self,
        sale: SaleId,
        attempts: &[AttemptId],
    ) -> Result<Vec<PastPurchase>, PortError> {
        let attempts: Vec<i64> = attempts.iter().map(|attempt| attempt.get()).collect();
        let stored = self.all(sale, &attempts).await?.into_iter();
        Ok(stored.map(|(attempt, outcome)| PastPurchase { sale, attempt, outcome }).collect())
    }
}

#[async_trait]
impl BatchWork for OutcomeReader {
    type Key = SaleId;
    type Request = AttemptId;
    type Reply = Found;

    fn expected_wait(&self) -> Duration {
        self.database.expected_wait()
    }

    async fn serve(&self, sale: SaleId, batch: Batch<AttemptId, Found>) -> Batch<AttemptId, Found> {
        let requests = batch.requests();
        let distinct: BTreeSet<i64> = requests.iter().map(|attempt| attempt.get()).collect();
        let distinct: Vec<i64> = distinct.into_iter().collect();
        let found: Vec<Found> = match self.all(sale, &distinct).await {
            Ok(stored) => requests.iter().map(|attempt| Ok(stored.get(attempt).cloned())).collect(),
            Err(error) => same_failure(WHAT, &error, requests.len()),
        };
        batch.answer(found);
        Batch::empty()
    }
}
