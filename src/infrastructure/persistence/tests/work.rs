//! Measures the work of statements: the rows and pages of each table that PostgreSQL counts for them.

#![cfg(test)]

use std::sync::Mutex;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

use crate::domain::ids::SaleId;
use crate::infrastructure::persistence::batch::transaction::{BatchMode, BatchTransaction, Served};
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::row::from_row;

/// Maximum number of rows of one table that may be read for each object requested.
const ROWS_EACH: i64 = 4;
/// Maximum number of pages of one table and its indexes for each object requested. A full scan of an index of a million rows takes four
/// times as many for a batch.
const PAGES_EACH: i64 = 16;

from_row! {
    /// The work done on one table.
    #[derive(Debug, Clone)]
    pub(super) struct Work {
        pub(super) relation: String,
        /// Sequential scans.
        scans: i64,
        /// Rows read.
        rows: i64,
        /// Pages read, including those of its indexes.
        pages: i64,
    }
}

/// The query for the work on every table and its indexes: by this transaction and by earlier ones that its session has not reported yet
/// (`xact_`), or by all sessions that have reported.
fn work_by(counters: &str) -> String {
    format!(
        "SELECT t.relname::text AS relation,
                pg_stat_get_{counters}numscans(t.oid) AS scans,
                (pg_stat_get_{counters}tuples_returned(t.oid)
                    + sum(pg_stat_get_{counters}tuples_fetched(r.oid)))::bigint AS rows,
                sum(pg_stat_get_{counters}blocks_fetched(r.oid))::bigint AS pages
         FROM pg_class AS t
         CROSS JOIN LATERAL (
             SELECT t.oid UNION ALL SELECT indexrelid FROM pg_index WHERE indrelid = t.oid
         ) AS r(oid)
         WHERE t.relnamespace = 'public'::regnamespace AND t.relkind = 'r'
         GROUP BY t.oid, t.relname
         ORDER BY t.oid"
    )
}

/// The work that all sessions have reported.
pub(super) async fn reported(pool: &PgPool) -> Vec<Work> {
    sqlx::query_as(AssertSqlSafe(work_by(""))).fetch_all(pool).await.unwrap()
}

async fn work_so_far(connection: &mut PgConnection) -> Result<Vec<Work>, sqlx::Error> {
    sqlx::query_as(AssertSqlSafe(work_by("xact_"))).fetch_all(connection).await
}

/// The work on each table between two measurements.
pub(super) fn between(before: &[Work], after: &[Work]) -> Vec<Work> {
    let pairs = before.iter().zip(after);
    let work = pairs.map(|(before, after)| {
        assert_eq!(before.relation, after.relation);
        Work {
            relation: after.relation.clone(),
            scans: after.scans - before.scans,
            rows: after.rows - before.rows,
            pages: after.pages - before.pages,
        }
    });
    work.filter(|work| work.pages > 0).collect()
}

/// A batch transaction that measures its own work.
pub(super) struct Measured<T> {
    transaction: T,
    /// The mode of its batches that need no transaction, instead of the session's choice.
    pub(super) mode: BatchMode,
    work: Mutex<Vec<Work>>,
}

impl<T> Measured<T> {
    pub(super) fn new(transaction: T) -> Self {
        Self { transaction, mode: BatchMode::Optimistic, work: Mutex::default() }
    }

    /// The work of the last run that succeeded.
    pub(super) fn work(&self) -> Vec<Work> {
        self.work.lock().unwrap().clone()
    }
}

#[async_trait]
impl<T: BatchTransaction> BatchTransaction for Measured<T> {
    type Request = T::Request;
    type Reply = T::Reply;
    const WHAT: &'static str = T::WHAT;

    fn needs_transaction(request: &T::Request) -> bool {
        T::needs_transaction(request)
    }

    async fn run(
        &self,
        connection: &mut PgConnection,
        sale: SaleId,
        requests: &[T::Request],
        mode: BatchMode,
    ) -> Result<Vec<Served<T::Reply>>, DatabaseError> {
        let mode = if requests.iter().any(T::needs_transaction) { mode } else { self.mode };
        // Between transactions a session reports its counters, at most once a second, and resets them.
        let mut tx = connection.begin().await?;
        let before = work_so_far(&mut tx).await?;
        let replies = self.transaction.run(&mut tx, sale, requests, mode).await?;
        let after = work_so_far(&mut tx).await?;
        tx.commit().await?;
        *self.work.lock().unwrap() = between(&before, &after);
        Ok(replies)
    }

    fn forget(&self, sale: SaleId) {
        self.transaction.forget(sale);
    }
}

/// Fails where the work is out of proportion to the number of requests.
#[track_caller]
pub(super) fn assert_in_proportion(what: &str, requests: i64, work: &[Work]) {
    assert!(!work.is_empty(), "{what} did nothing");
    for table in work {
        let is_little = table.rows <= ROWS_EACH * requests && table.pages <= PAGES_EACH * requests;
        assert!(table.scans == 0 && is_little, "too much work for {requests} {what}: {table:?}");
    }
}
