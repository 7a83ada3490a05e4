//! Deadlines in the service itself: the server enforces `statement_timeout`, and a peer that has vanished enforces nothing.

use std::time::Duration;

use super::database::Database;
use super::error::DatabaseError;

/// What an answer may take beyond the statement timeout.
pub(crate) const ANSWER_MARGIN: Duration = Duration::from_secs(1);

impl Database {
    /// Longest time of a read, or of a transaction with the session's settings.
    pub(crate) fn answer_timeout(&self) -> Duration {
        self.answer_timeout
    }

    /// Abandons what has not finished within the limit; whether it happened is unknown then.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        run: impl Future<Output = Result<T, DatabaseError>>,
    ) -> Result<T, DatabaseError> {
        match tokio::time::timeout(limit, run).await {
            Ok(result) => result,
            Err(_) => Err(self.record(DatabaseError::Silent)),
        }
    }
}
