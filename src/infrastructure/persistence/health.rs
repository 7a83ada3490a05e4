//! Whether PostgreSQL answers.

use async_trait::async_trait;

use super::database::Database;
use crate::application::ports::{Health, HealthCheck};

/// Asks PostgreSQL for nothing.
pub(crate) struct PostgresHealth {
    database: Database,
}

impl PostgresHealth {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }
}

#[async_trait]
impl HealthCheck for PostgresHealth {
    fn name(&self) -> &'static str {
        "postgresql"
    }

    async fn check(&self) -> Health {
        match sqlx::query("SELECT 1").execute(self.database.pool()).await {
            Ok(_) => Health::Up,
            Err(error) => {
                tracing::warn!(%error, "postgresql does not answer its health check");
                Health::Down("postgresql does not answer".to_owned())
            }
        }
    }
}
