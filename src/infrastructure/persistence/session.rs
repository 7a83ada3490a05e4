//! A writer's connection, kept from batch to batch while there is work: each return to the pool costs two round trips, and
//! a connection that is warm has its statements planned and its tables open.

use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, Postgres};

use super::batches::BatchTransaction;
use super::database::Database;
use super::error::{DatabaseError, ErrorClass};
use super::metrics::Statement;
use crate::domain::ids::SaleId;

/// Leaves the planner no choice where the statements leave it one: a plan is made once, for any number of rows, and never
/// reads a table from its beginning to its end, nor all of a sale's index for one row of it (which is what a bitmap does).
/// The pool takes the settings back.
const SETTINGS: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off";
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// Holds a connection, or none yet.
#[derive(Debug, Default)]
pub(super) struct Session {
    held: Option<PoolConnection<Postgres>>,
}

impl Session {
    /// Runs a batch in a transaction: commits on `Ok`, rolls back on `Err`, and when its future is dropped.
    ///
    /// When the connection breaks during the commit, the error's class is `Connection` and whether it was committed is
    /// unknown.
    pub(super) async fn run<T: BatchTransaction>(
        &mut self,
        database: &Database,
        transaction: &T,
        sale: SaleId,
        requests: &[T::Request],
    ) -> Result<Vec<T::Reply>, DatabaseError> {
        // Out of the session meanwhile: if this future is dropped, the connection goes back to the pool, which rolls back.
        let (mut connection, is_new) = match self.held.take() {
            Some(connection) => (connection, false),
            None => (database.acquire().await?, true),
        };
        let attempt = async {
            if is_new {
                let set = sqlx::raw_sql(SETTINGS).execute(&mut *connection);
                database.time(Statement::Begin, set).await?;
            }
            attempt(database, &mut connection, transaction, (sale, requests)).await
        };
        let result = database.within(database.patience(), attempt).await;
        match &result {
            Err(error) if error.class() == ErrorClass::Connection => connection.close_on_drop(),
            _ => self.held = Some(connection),
        }
        result
    }
}

async fn attempt<T: BatchTransaction>(
    database: &Database,
    connection: &mut PgConnection,
    transaction: &T,
    (sale, requests): (SaleId, &[T::Request]),
) -> Result<Vec<T::Reply>, DatabaseError> {
    let mut begun = database.time(Statement::Begin, connection.begin_with(BEGIN)).await?;
    match transaction.run(&mut begun, sale, requests).await {
        Ok(replies) => {
            database.time(Statement::Commit, begun.commit()).await?;
            Ok(replies)
        }
        Err(error) => {
            database.time(Statement::Rollback, begun.rollback()).await?;
            Err(error)
        }
    }
}
