//! A writer's connection, kept from batch to batch while there is work: each return to the pool costs two round trips, and
//! a connection that is warm has its statements planned and its tables open.

use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, Postgres};

use super::splitting::{BatchTransaction, Mode};
use crate::domain::ids::SaleId;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::{DatabaseError, ErrorClass};
use crate::infrastructure::persistence::pool::metrics::Statement;

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// Holds a connection, or none yet.
#[derive(Debug, Default)]
pub(crate) struct Session {
    held: Option<PoolConnection<Postgres>>,
}

impl Session {
    /// Runs a batch, all or nothing: in one writing statement where that is enough and nobody is in the way, else in a
    /// transaction that locks.
    ///
    /// When the connection breaks, the error's class is `Connection` and whether it was committed is unknown.
    pub(crate) async fn run<T: BatchTransaction>(
        &mut self,
        database: &Database,
        transaction: &T,
        sale: SaleId,
        requests: &[T::Request],
    ) -> Result<Vec<T::Reply>, DatabaseError> {
        database.reach()?;
        let batch = Batch { database, transaction, sale, requests };
        let held = self.held.take();
        // If this future is dropped, or its time is up, the connection goes back to the pool, which rolls back first.
        let attempt = async {
            let mut connection = match held {
                Some(connection) => connection,
                None => database.acquire().await?,
            };
            let result = batch.run(&mut connection).await;
            Ok((connection, result))
        };
        let (mut connection, result) = database.within(database.patience(), attempt).await?;
        match &result {
            Err(error) if error.ends_connection() => connection.close_on_drop(),
            _ => self.held = Some(connection),
        }
        result
    }
}

struct Batch<'a, T: BatchTransaction> {
    database: &'a Database,
    transaction: &'a T,
    sale: SaleId,
    requests: &'a [T::Request],
}

impl<T: BatchTransaction> Batch<'_, T> {
    async fn run(&self, connection: &mut PgConnection) -> Result<Vec<T::Reply>, DatabaseError> {
        if self.requests.iter().any(T::needs_transaction) {
            return self.run_locked(connection).await;
        }
        let company = self.database.company();
        let mode = if company.is_in_the_way() { Mode::Among } else { Mode::AtOnce };
        match self.transaction.run(connection, self.sale, self.requests, mode).await {
            // A lock that was not had in time would not be had with other locks in hand either.
            Err(error) if error.class() == ErrorClass::Transient && !error.is_lock_wait() => {
                company.meet();
            }
            done => return done,
        }
        self.run_locked(connection).await
    }

    async fn run_locked(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Vec<T::Reply>, DatabaseError> {
        let mut begun = self.database.time(Statement::Begin, connection.begin_with(BEGIN)).await?;
        match self.transaction.run(&mut begun, self.sale, self.requests, Mode::Locked).await {
            Ok(replies) => {
                self.database.time(Statement::Commit, begun.commit()).await?;
                Ok(replies)
            }
            Err(error) => {
                self.database.time(Statement::Rollback, begun.rollback()).await?;
                Err(error)
            }
        }
    }
}
