//! What the command `explain` uses.

use prometheus::Registry;

use super::error::AppError;
use super::limits::CLOSE_TIMEOUT;
use super::offline::with_few_retries;
use crate::config::Config;
use crate::infrastructure::circuit::CircuitMetrics;
use crate::infrastructure::persistence::{
    Database, DatabaseMetrics, ExplainError, Explained, Named, Planning, Wanted, check_cell,
    check_requirements, check_schema, explain,
};

/// Why `explain` fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExplainFailure {
    #[error(transparent)]
    Connect(#[from] AppError),
    #[error(transparent)]
    Explain(#[from] ExplainError),
}

/// Explains statements on connections that plan as those of the service do.
pub(crate) async fn explain_statements(
    config: &Config,
    statements: &[&'static Named],
    wanted: Wanted,
) -> Result<Vec<Explained>, ExplainFailure> {
    let database = connect(config).await?;
    let explained = explain(&database, statements, wanted).await;
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, database.close()).await;
    Ok(explained?)
}

async fn connect(config: &Config) -> Result<Database, AppError> {
    let registry = Registry::new();
    let metrics = DatabaseMetrics::register(&registry)?;
    let circuits = CircuitMetrics::register(&registry)?;
    let settings = with_few_retries(&config.database);
    let database = Database::connect(&settings, Planning::Keys, metrics, &circuits).await?;
    check_requirements(&database).await?;
    check_schema(&database).await?;
    check_cell(&database, config.database.cell).await?;
    Ok(database)
}
