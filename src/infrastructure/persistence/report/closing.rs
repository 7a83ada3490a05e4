//! Finds ended sales that can be closed.
//!
//! A purchase is decided while its sale is open and may commit long after: `hold_batch` reads the clock when the transaction has written
//! its rows, so when it has its number. A sale is therefore noted after its end with the first number that no transaction had yet, and
//! is settled once no transaction with a smaller one runs. Later transactions find the sale ended.

use std::time::Duration;

use crate::application::ports::{EndedSale, PortError};
use crate::domain::ids::SaleId;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::row::from_row;

/// Sales that are looked at together. All wait for the oldest transaction, so the first of them are settled first.
const AT_A_TIME: i64 = 100;
const WHAT: &str = "the ended sales";

/// Sales that were closed and are open again, because PostgreSQL's clock was put back. An end that was moved needs nothing: it differs from
/// the one that the sale was closed for.
pub(crate) const REOPEN: &str = r"
    UPDATE sales
    SET closed_end = NULL
    WHERE ends_at > statement_timestamp() AND closed_end = ends_at
";

/// `statement_timestamp()` is before the statement's snapshot: a sale that has ended by it had ended when the snapshot was taken. A
/// horizon that this server has not reached is of another one, from which the database was copied.
pub(crate) const ENDED: &str = r"
    SELECT s.id, extract(epoch FROM statement_timestamp() - c.noted_at)::float8 AS waits,
           c.horizon <= pg_snapshot_xmin(pg_current_snapshot()) AS is_settled
    FROM (
        SELECT id, ends_at FROM sales
        WHERE ends_at <= statement_timestamp() - make_interval(secs => $1)
          AND closed_end IS DISTINCT FROM ends_at
        ORDER BY ends_at
        LIMIT $2
    ) AS s
    LEFT JOIN sale_closings AS c
        ON c.sale_id = s.id AND c.ends_at = s.ends_at
       AND c.horizon <= pg_snapshot_xmax(pg_current_snapshot())
";

/// Notes the sales of `ENDED` that are not noted for their end.
pub(crate) const NOTE: &str = r"
    INSERT INTO sale_closings AS c (sale_id, ends_at, horizon)
    SELECT id, ends_at, pg_snapshot_xmax(pg_current_snapshot())
    FROM sales
    WHERE id = ANY($1) AND ends_at <= statement_timestamp()
    ORDER BY id
    ON CONFLICT (sale_id) DO UPDATE
    SET ends_at = EXCLUDED.ends_at, horizon = EXCLUDED.horizon, noted_at = clock_timestamp()
    WHERE c.ends_at <> EXCLUDED.ends_at OR c.horizon > EXCLUDED.horizon
";

from_row! {
    #[derive(Debug)]
    struct EndedRow {
        id: i64,
        waits: Option<f64>,
        is_settled: Option<bool>,
    }
}

/// Sales that ended at least this long ago and are not closed. Those that are seen for the first time are noted.
pub(super) async fn ended(
    database: &Database,
    at_least: Duration,
) -> Result<Vec<EndedSale>, PortError> {
    let reopen = || sqlx::query(REOPEN).execute(database.pool());
    database.read_as(Statement::CloseSale, WHAT, reopen).await?;
    let rows = read(database, at_least).await?;
    let new: Vec<i64> =
        rows.iter().filter(|row| row.is_settled.is_none()).map(|row| row.id).collect();
    if new.is_empty() {
        return Ok(rows.iter().filter_map(ended_sale).collect());
    }
    let note = || sqlx::query(NOTE).bind(&new).execute(database.pool());
    database.read_as(Statement::CloseSale, WHAT, note).await?;
    let rows = read(database, at_least).await?;
    Ok(rows.iter().filter_map(ended_sale).collect())
}

async fn read(database: &Database, at_least: Duration) -> Result<Vec<EndedRow>, PortError> {
    let query = || {
        let query = sqlx::query_as(ENDED).bind(at_least.as_secs_f64()).bind(AT_A_TIME);
        query.fetch_all(database.pool())
    };
    database.read_as(Statement::CloseSale, WHAT, query).await
}

/// `None` for a sale that is not noted: it was moved between the statements.
fn ended_sale(row: &EndedRow) -> Option<EndedSale> {
    // A clock that was put back makes it negative.
    let waits = Duration::try_from_secs_f64(row.waits?).unwrap_or_default();
    Some(EndedSale { sale: SaleId::new(row.id)?, waits, is_settled: row.is_settled? })
}

/// How the look for sales is run.
#[cfg(test)]
pub(super) async fn plan_of_look(connection: &mut sqlx::PgConnection) -> String {
    let explain = format!("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {ENDED}");
    let query = sqlx::query_scalar(sqlx::AssertSqlSafe(explain)).bind(0.0).bind(AT_A_TIME);
    let lines: Vec<String> = query.fetch_all(connection).await.unwrap();
    lines.join("\n")
}
