//! Runs a batch on a connection that its writer keeps while there is work: returning one to the pool costs two round trips, and a
//! connection in use has planned its statements and opened its tables.

use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, Postgres};

use super::context::BatchContext;
use super::transaction::{BatchMode, BatchTransaction};
use crate::application::history::History;
use crate::domain::ids::SaleId;
use crate::infrastructure::persistence::pool::error::{DatabaseError, ErrorClass};
use crate::infrastructure::persistence::pool::metrics::Statement;

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// A writer's connection, once it has one.
#[derive(Debug, Default)]
pub(crate) struct Session {
    kept: Option<Kept>,
}

/// A connection, with the id of the epoch in which it was taken from the pool.
#[derive(Debug)]
struct Kept {
    connection: PoolConnection<Postgres>,
    epoch: i64,
}

impl Session {
    /// Runs a batch, all or nothing: optimistically where one writing statement is enough, and in a transaction that locks otherwise,
    /// or after another transaction was faster.
    ///
    /// When the connection breaks, the error's class is `Connection`, and it is unknown whether the batch was committed.
    pub(crate) async fn run<T: BatchTransaction>(
        &mut self,
        context: &BatchContext,
        transaction: &T,
        sale: SaleId,
        requests: &[T::Request],
    ) -> Result<Vec<T::Reply>, DatabaseError> {
        let database = &context.database;
        database.check_available()?;
        let batch = Batch { context, transaction, sale, requests };
        let history = database.history();
        let kept = self.kept.take().and_then(|kept| kept.unless_outdated(history));
        // If this future is dropped or times out, the connection goes back to the pool, which rolls back first.
        let attempt = async {
            let mut kept = if let Some(kept) = kept {
                kept
            } else {
                // Before the connection: the pool lends none that is older than the epoch of now.
                let epoch = history.id();
                Kept { connection: database.acquire().await?, epoch }
            };
            let result = batch.run(&mut kept.connection).await;
            Ok((kept, result))
        };
        let (mut kept, mut result) = database.within(database.answer_timeout(), attempt).await?;
        if !history.is_still(kept.epoch) {
            // It was written to a history that has ended, and what it left in memory came after everything else was forgotten.
            context.recent_writes.clear();
            result = Err(database.record(DatabaseError::Outdated));
        }
        match &result {
            Err(error) if error.ends_connection() => kept.connection.close_on_drop(),
            _ => self.kept = Some(kept),
        }
        result
    }
}

impl Kept {
    /// Itself, unless the history has changed since: the server at the other end may still accept writes.
    fn unless_outdated(mut self, history: &History) -> Option<Self> {
        if history.is_still(self.epoch) {
            return Some(self);
        }
        self.connection.close_on_drop();
        None
    }
}

struct Batch<'a, T: BatchTransaction> {
    context: &'a BatchContext,
    transaction: &'a T,
    sale: SaleId,
    requests: &'a [T::Request],
}

impl<T: BatchTransaction> Batch<'_, T> {
    async fn run(&self, connection: &mut PgConnection) -> Result<Vec<T::Reply>, DatabaseError> {
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
    ) -> Result<Vec<T::Reply>, DatabaseError> {
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
