//! Runs a batch once, on a connection that it leaves to the next one.

use sqlx::{Connection, PgConnection};

use super::context::BatchContext;
use super::transaction::{BatchMode, BatchTransaction, Served};
use crate::domain::ids::SaleId;
use crate::infrastructure::persistence::pool::error::{DatabaseError, ErrorClass};
use crate::infrastructure::persistence::pool::metrics::Statement;

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// Runs a batch, all or nothing: optimistically where one writing statement is enough, and in a transaction that locks otherwise,
/// or after another transaction was faster.
///
/// When the connection breaks, the error's class is `Connection`, and it is unknown whether the batch was committed.
pub(crate) async fn run<T: BatchTransaction>(
    context: &BatchContext,
    transaction: &T,
    sale: SaleId,
    requests: &[T::Request],
) -> Result<Vec<Served<T::Reply>>, DatabaseError> {
    let database = &context.database;
    database.check_available()?;
    let batch = Batch { context, transaction, sale, requests };
    // If this future is dropped or times out, the connection goes back to the pool, which rolls back first.
    let attempt = async {
        let mut connection = database.acquire().await?;
        let result = batch.run(&mut connection).await;
        Ok((connection, result))
    };
    let (connection, mut result) = database.within(database.answer_timeout(), attempt).await?;
    if !database.history().is_still(connection.epoch()) {
        // It was written to a history that has ended, and what it left in memory came after everything else was forgotten.
        context.recent_writes.clear();
        result = Err(database.record(DatabaseError::Outdated));
    }
    match &result {
        Err(error) if error.ends_connection() => connection.discard(),
        _ => database.keep(connection),
    }
    result
}

struct Batch<'a, T: BatchTransaction> {
    context: &'a BatchContext,
    transaction: &'a T,
    sale: SaleId,
    requests: &'a [T::Request],
}

impl<T: BatchTransaction> Batch<'_, T> {
    async fn run(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Vec<Served<T::Reply>>, DatabaseError> {
        if self.requests.iter().any(T::needs_transaction) {
            return self.run_pessimistic(connection).await;
        }
        let contention = &self.context.contention;
        let mode =
            if contention.is_contended() { BatchMode::Contended } else { BatchMode::Optimistic };
        match self.transaction.run(connection, self.sale, self.requests, mode).await {
            // Holding further locks would not get a lock that could not be taken in time.
            Err(error) if error.class() == ErrorClass::Transient && !error.is_lock_wait() => {
                contention.record_conflict();
            }
            result => return result,
        }
        self.run_pessimistic(connection).await
    }

    async fn run_pessimistic(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Vec<Served<T::Reply>>, DatabaseError> {
        let database = &self.context.database;
        let mut tx = database.time(Statement::Begin, connection.begin_with(BEGIN)).await?;
        let run = self.transaction.run(&mut tx, self.sale, self.requests, BatchMode::Pessimistic);
        match run.await {
            Ok(replies) => {
                database.time(Statement::Commit, tx.commit()).await?;
                Ok(replies)
            }
            Err(error) => {
                database.time(Statement::Rollback, tx.rollback()).await?;
                Err(error)
            }
        }
    }
}
