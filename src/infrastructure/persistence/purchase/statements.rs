//! Runs the statements of a batch of purchases, for one sale.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use sqlx::PgConnection;

use super::rows::{Decided, KnownBuyer, SaleRow, Time, Written};
use super::{outcomes, sql};
use crate::application::ports::Settled;
use crate::domain::ids::{AttemptId, SaleId};
use crate::infrastructure::persistence::batch::lines;
use crate::infrastructure::persistence::batch::transaction::BatchMode;
use crate::infrastructure::persistence::partitions::Statements;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;

/// The statements for the batch's sale, in the batch's mode.
pub(super) struct BatchStatements<'s> {
    pub(super) database: &'s Database,
    pub(super) statements: &'s Statements<7>,
    pub(super) sale: SaleId,
    pub(super) mode: BatchMode,
}

impl BatchStatements<'_> {
    /// Reads everything that the attempts are decided on, but of an attempt with more than `lines_each` lines only one line more than
    /// that; `None` if the sale does not exist.
    pub(super) async fn read(
        &self,
        connection: &mut PgConnection,
        attempts: &[AttemptId],
        lines_each: usize,
    ) -> Result<Option<SaleRow>, DatabaseError> {
        let numbers: BTreeSet<i64> = attempts.iter().map(|attempt| attempt.get()).collect();
        let numbers: Vec<i64> = numbers.into_iter().collect();
        let (statement, timed) = match self.mode {
            BatchMode::Optimistic | BatchMode::Contended => {
                (sql::READ_AT, Statement::ReadPurchases)
            }
            BatchMode::Pessimistic => (sql::READ_AND_LOCK_ITEMS_AT, Statement::LockItems),
        };
        if self.mode == BatchMode::Pessimistic {
            let lock = sqlx::query_scalar::<_, i64>(self.statements.get(sql::LOCK_BUYERS_AT))
                .bind(self.sale.get())
                .bind(&numbers)
                .fetch_one(&mut *connection);
            self.database.time(Statement::LockBuyers, lock).await?;
        }
        let query = sqlx::query_as(self.statements.get(statement));
        let query = query.bind(self.sale.get()).bind(&numbers).bind(lines::limit(lines_each));
        let read = query.fetch_optional(connection);
        self.database.time(timed, read).await
    }

    /// The stored outcomes of attempts that are not open any more.
    pub(super) async fn stored(
        &self,
        connection: &mut PgConnection,
        buyers: &HashMap<AttemptId, KnownBuyer>,
    ) -> Result<HashMap<AttemptId, Settled>, DatabaseError> {
        let closed: Vec<i64> = buyers
            .values()
            .filter(|buyer| buyer.open_attempt != Some(buyer.attempt.get()))
            .map(|buyer| buyer.attempt.get())
            .collect();
        if closed.is_empty() {
            return Ok(HashMap::new());
        }
        let statement = self.statements.get(sql::STORED_AT);
        let stored = outcomes::stored(connection, statement, self.sale, &closed);
        let stored = self.database.time(Statement::ReadOutcomes, stored).await?;
        Ok(stored
            .into_iter()
            .map(|stored| (stored.attempt, Settled::Before(Arc::new(stored.outcome))))
            .collect())
    }

    /// Writes a decision, if everything that it rests on still holds.
    pub(super) async fn write(
        &self,
        connection: &mut PgConnection,
        decided: &Decided<'_>,
    ) -> Result<Written, DatabaseError> {
        let stock = decided.stock();
        let buyers = decided.buyers();
        let outcomes = decided.outcomes();
        let statement = match (decided.basis.time, self.mode) {
            (Time::Unread, _) => sql::WRITE_UNREAD_AT,
            (Time::Read(_), BatchMode::Contended) => sql::WRITE_CONTENDED_AT,
            (Time::Read(_), BatchMode::Optimistic | BatchMode::Pessimistic) => sql::WRITE_AT,
        };
        let query = sqlx::query_as(self.statements.get(statement))
            .bind(self.sale.get())
            .bind(&buyers.ctids)
            .bind(&buyers.users)
            .bind(&buyers.versions)
            .bind(&buyers.pieces)
            .bind(&buyers.closes)
            .bind(&stock.ctids)
            .bind(&stock.items)
            .bind(&stock.pieces);
        let query = match decided.basis.time {
            Time::Read(now) => query.bind(now),
            Time::Unread => query.bind(decided.basis.generation),
        };
        let query = query
            .bind(&outcomes.attempts)
            .bind(&outcomes.users)
            .bind(&outcomes.totals)
            .bind(&outcomes.failed)
            .bind(&outcomes.items)
            .bind(&outcomes.quantities)
            .bind(&outcomes.first_lines)
            .bind(&outcomes.last_lines)
            .bind(&outcomes.lines);
        self.database.time(Statement::WritePurchases, query.fetch_one(connection)).await
    }
}
