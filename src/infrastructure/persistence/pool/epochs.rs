//! Reads the epochs of the database.

use async_trait::async_trait;

use super::database::Database;
use crate::application::ports::{EpochReader, PortError};

/// Reads them into the history of its pool.
pub(crate) struct PostgresEpochReader {
    database: Database,
}

impl PostgresEpochReader {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }
}

#[async_trait]
impl EpochReader for PostgresEpochReader {
    async fn read(&self) -> Result<(), PortError> {
        let read = async {
            self.database.check_available()?;
            self.database.begin_history().await
        };
        let result = self.database.within(self.database.answer_timeout(), read).await;
        result.map_err(|error| error.into_port_error("the epochs"))
    }
}
