//! Reads which lines of purchases were taken back. All readers of a sale that wait share a statement, as with outcomes: a storm of
//! readers of one code is one look-up at a time.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::application::ports::{CancellationReader, PortError, TakenBack};
use crate::domain::ids::{AttemptId, ItemNo, SaleId};
use crate::infrastructure::batching::{Batch, BatchLimits, BatchMetrics, BatchWork, Batcher};
use crate::infrastructure::persistence::batch::failure::same_failure;
use crate::infrastructure::persistence::batch::splitting::rejected;
use crate::infrastructure::persistence::partitions::Partitions;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::metrics::Statement;

const WHAT: &str = "the cancellations";

const TAKEN_BACK: &str = r"
    SELECT t.attempt_id, c.item_no, c.cancelled_at
    FROM unnest($2::bigint[]) AS t(attempt_id)
    CROSS JOIN LATERAL (
        SELECT item_no, cancelled_at FROM purchase_cancellations{of_sale}
        WHERE sale_id = $1 AND attempt_id = t.attempt_id
        OFFSET 0
    ) AS c
";

/// Reads cancellations.
pub(crate) struct PostgresCancellations {
    batcher: Batcher<LookUp>,
}

impl PostgresCancellations {
    pub(crate) fn new(
        database: Database,
        limits: BatchLimits,
        metrics: &BatchMetrics,
        scope: (TaskTracker, CancellationToken),
    ) -> Self {
        let work = LookUp { database, partitions: Partitions::new([TAKEN_BACK]) };
        Self { batcher: Batcher::new("cancellations", work, limits, metrics, scope) }
    }
}

#[async_trait]
impl CancellationReader for PostgresCancellations {
    async fn taken_back(
        &self,
        sale: SaleId,
        attempts: &[AttemptId],
    ) -> Result<Vec<TakenBack>, PortError> {
        let attempts = attempts.iter().map(|attempt| attempt.get()).collect();
        match self.batcher.submit(sale, attempts).await {
            Ok(taken_back) => taken_back,
            Err(reason) => Err(rejected(WHAT, reason)),
        }
    }
}

struct LookUp {
    database: Database,
    partitions: Partitions<1>,
}

impl LookUp {
    /// By attempt.
    async fn all(
        &self,
        sale: SaleId,
        attempts: &[i64],
    ) -> Result<HashMap<i64, Vec<TakenBack>>, PortError> {
        let read = self.partitions.read(
            &self.database,
            (Statement::ReadOutcomes, WHAT),
            sale,
            |mut connection, statements| async move {
                let query = sqlx::query_as(statements.get(0)).bind(sale.get()).bind(attempts);
                query.fetch_all(&mut *connection).await
            },
        );
        let rows: Vec<(i64, i32, DateTime<Utc>)> = read.await?;
        let mut found: HashMap<i64, Vec<TakenBack>> = HashMap::new();
        for (number, item, at) in rows {
            if let Some(attempt) = AttemptId::new(number) {
                let taken = TakenBack { attempt, item: ItemNo(item), at };
                found.entry(number).or_default().push(taken);
            }
        }
        Ok(found)
    }
}

#[async_trait]
impl BatchWork for LookUp {
    type Key = SaleId;
    type Request = Vec<i64>;
    type Reply = Result<Vec<TakenBack>, PortError>;

    fn expected_wait(&self) -> Duration {
        self.database.expected_wait()
    }

    async fn serve(
        &self,
        sale: SaleId,
        batch: Batch<Vec<i64>, Self::Reply>,
    ) -> Batch<Vec<i64>, Self::Reply> {
        let requests = batch.requests();
        let distinct: BTreeSet<i64> = requests.iter().flatten().copied().collect();
        let distinct: Vec<i64> = distinct.into_iter().collect();
        let replies: Vec<Self::Reply> = match self.all(sale, &distinct).await {
            Ok(found) => {
                let of = |attempts: &Vec<i64>| {
                    Ok(attempts.iter().filter_map(|it| found.get(it)).flatten().copied().collect())
                };
                requests.iter().map(of).collect()
            }
            Err(error) => same_failure(WHAT, &error, requests.len()),
        };
        batch.answer(replies);
        Batch::empty()
    }
}
