//! The health check: whether PostgreSQL answers and accepts writes.

use async_trait::async_trait;

use super::database::Database;
use crate::application::ports::{Health, HealthCheck};

/// Checks PostgreSQL.
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
        let probe = self.database.probe();
        if !probe.is_available() {
            let state = probe.circuit_state();
            return Health::Down(format!("postgresql is away: the circuit is {state}"));
        }
        let read_only = sqlx::query_scalar::<_, String>("SHOW transaction_read_only");
        match read_only.fetch_one(self.database.pool()).await {
            Ok(read_only) if read_only == "on" => {
                Health::Down("postgresql is read-only".to_owned())
            }
            Ok(_) => Health::Up,
            Err(error) => {
                tracing::warn!(%error, "postgresql does not answer its health check");
                Health::Down("postgresql does not answer".to_owned())
            }
        }
    }
}
