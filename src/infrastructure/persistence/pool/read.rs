//! Runs reads for the ports: bounded in number and time, and repeated after a broken connection.

use std::time::Instant;

use super::database::Database;
use super::error::ErrorClass;
use super::metrics::Statement;
use super::tx::READ_RETRIES;
use crate::application::ports::PortError;

impl Database {
    /// Runs a read that has no statement label of its own; see [`Database::read_as`].
    pub(crate) async fn read<T, R>(
        &self,
        what: &'static str,
        read: impl FnMut() -> R + Send,
    ) -> Result<T, PortError>
    where
        R: Future<Output = Result<T, sqlx::Error>> + Send,
    {
        self.read_as(Statement::Read, what, read).await
    }

    /// Runs and times a read. Waits a bounded time for its turn and for the answer, and repeats a read whose connection broke.
    pub(crate) async fn read_as<T, R>(
        &self,
        statement: Statement,
        what: &'static str,
        mut read: impl FnMut() -> R + Send,
    ) -> Result<T, PortError>
    where
        R: Future<Output = Result<T, sqlx::Error>> + Send,
    {
        let mut tries = 0;
        loop {
            let turn_and_answer = async {
                let _turn = match statement {
                    // The sale cache and buyers need these: they do not queue behind browsing front ends.
                    Statement::LiveSales
                    | Statement::Catalogue
                    | Statement::ReadKeys
                    | Statement::Position => None,
                    _ => self.readers.acquire().await.ok(),
                };
                let since = Instant::now();
                let answer = self.while_available(Box::pin(read())).await;
                self.metrics.queried(statement, since.elapsed());
                answer
            };
            match self.within(self.answer_timeout, turn_and_answer).await {
                Err(error) if error.class() == ErrorClass::Connection && tries < READ_RETRIES => {
                    tries += 1;
                }
                result => return result.map_err(|error| error.into_port_error(what)),
            }
        }
    }
}
