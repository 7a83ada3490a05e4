//! How PostgreSQL runs the named statements, with the session's settings that the service plans with.

use std::time::Duration;

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::fingerprint::fingerprint;
use super::named::{Example, Named};
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::{DatabaseError, ErrorClass};

/// How often a statement is run again, with fresh values, after it lost a race with a buyer.
const RETRIES: u32 = 3;
/// A statement that waits for a buyer's lock gives up after this time, so that it holds its own locks no longer.
const LOCK_TIMEOUT: Duration = Duration::from_millis(200);

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// The sale to explain with: one that is open, else the latest that has begun, else the next.
const EXAMPLE: &str = r"
    SELECT id, starts_at <= clock_timestamp() AND ends_at > clock_timestamp() AS is_open
    FROM sales
    WHERE cancelled_at IS NULL
    ORDER BY starts_at <= clock_timestamp() AND ends_at > clock_timestamp() DESC,
             starts_at <= clock_timestamp() DESC, starts_at DESC, id DESC
    LIMIT 1
";

/// Statements that write require an open sale. It is not committed.
const OPEN: &str = r"
    UPDATE sales
    SET starts_at = clock_timestamp() - interval '1 hour', ends_at = clock_timestamp() + interval '1 hour'
    WHERE id = $1
";

/// How a plan is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlanFormat {
    /// PostgreSQL's JSON.
    Json,
    /// PostgreSQL's text.
    Text,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Whether statements are run, and rolled back.
    pub(crate) analyze: bool,
    /// The form of the plans.
    pub(crate) format: PlanFormat,
}

/// A statement with its plan.
#[derive(Debug)]
pub(crate) struct Explained {
    /// Its name.
    pub(crate) name: &'static str,
    /// The label that it is measured under.
    pub(crate) kind: &'static str,
    /// Its fingerprint, as in the log of slow statements.
    pub(crate) fingerprint: String,
    /// Its text.
    pub(crate) statement: String,
    /// Its plan, or why PostgreSQL made none.
    pub(crate) plan: Result<Value, String>,
}

/// Why nothing can be explained.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExplainError {
    /// Statements can only be run on a sale.
    #[error("there is no sale to run the statements on: create one with `flash-sale sale create`")]
    NoSale,
    /// PostgreSQL cannot be asked.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Explains these statements. What a statement changes is rolled back, but for the numbers that it takes from sequences.
pub(crate) async fn explain(
    database: &Database,
    statements: &[&'static Named],
    wanted: Wanted,
) -> Result<Vec<Explained>, ExplainError> {
    let mut explained = Vec::with_capacity(statements.len());
    for named in statements {
        explained.push(explain_one(database, named, wanted).await?);
    }
    Ok(explained)
}

async fn explain_one(
    database: &Database,
    named: &'static Named,
    wanted: Wanted,
) -> Result<Explained, ExplainError> {
    let mut tries = 0;
    loop {
        let mut connection = database.acquire().await?;
        run(&mut connection, BEGIN).await?;
        let example = example(&mut connection, wanted.analyze).await?;
        let statement = named.statement(&example);
        let plan = plan(&mut connection, named, (&example, &statement), wanted).await;
        run(&mut connection, "ROLLBACK").await?;
        // A prepared statement outlives its transaction. It is not there if preparing failed.
        let _ = run(&mut connection, "DEALLOCATE explained").await;
        match plan {
            Err(error) if error.class() == ErrorClass::Transient && tries < RETRIES => tries += 1,
            plan => {
                return Ok(Explained {
                    name: named.name,
                    kind: named.kind.as_str(),
                    fingerprint: fingerprint(named.template()),
                    statement,
                    plan: plan.map_err(|error| error.to_string()),
                });
            }
        }
    }
}

async fn run(connection: &mut PgConnection, sql: &'static str) -> Result<(), DatabaseError> {
    sqlx::raw_sql(sql).execute(connection).await?;
    Ok(())
}

/// The sale, which is open in this transaction if statements are to be run.
async fn example(tx: &mut PgConnection, analyze: bool) -> Result<Example, ExplainError> {
    let sale: Option<(i64, bool)> =
        sqlx::query_as(EXAMPLE).fetch_optional(&mut *tx).await.map_err(DatabaseError::from)?;
    let Some((sale, is_open)) = sale else {
        if analyze {
            return Err(ExplainError::NoSale);
        }
        return Ok(Example { sale: 0, suffix: String::new() });
    };
    if analyze {
        limit_locks(tx).await.map_err(DatabaseError::from)?;
        if !is_open {
            let open = sqlx::query(OPEN).bind(sale).execute(tx).await;
            open.map_err(DatabaseError::from)?;
        }
    }
    Ok(Example::of(sale))
}

async fn limit_locks(tx: &mut PgConnection) -> Result<(), sqlx::Error> {
    let limit = format!("SET LOCAL lock_timeout = {}", LOCK_TIMEOUT.as_millis());
    sqlx::raw_sql(AssertSqlSafe(limit)).execute(tx).await.map(drop)
}

/// The plan of a prepared statement, because the service prepares all of them.
async fn plan(
    tx: &mut PgConnection,
    named: &Named,
    (example, statement): (&Example, &str),
    wanted: Wanted,
) -> Result<Value, DatabaseError> {
    let values: Vec<String> = sqlx::query_scalar(AssertSqlSafe(named.values(example)))
        .persistent(false)
        .fetch_one(&mut *tx)
        .await?;
    let types = named.types();
    let signature =
        if types.is_empty() { String::new() } else { format!("({})", types.join(", ")) };
    let arguments =
        if types.is_empty() { String::new() } else { format!("({})", values.join(", ")) };
    let prepare = format!("PREPARE explained {signature} AS {statement}");
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *tx).await?;
    let options = match (wanted.analyze, wanted.format) {
        (false, PlanFormat::Json) => "FORMAT JSON",
        (false, PlanFormat::Text) => "FORMAT TEXT",
        (true, PlanFormat::Json) => "ANALYZE, BUFFERS, FORMAT JSON",
        (true, PlanFormat::Text) => "ANALYZE, BUFFERS, FORMAT TEXT",
    };
    let explain = format!("EXPLAIN ({options}) EXECUTE explained {arguments}");
    let rows = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(&mut *tx).await?;
    let lines: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get_unchecked(0)).collect();
    let text = lines?.join("\n");
    match wanted.format {
        PlanFormat::Text => Ok(Value::String(text)),
        PlanFormat::Json => {
            serde_json::from_str(&text).map_err(|_| DatabaseError::Unreadable("the plan"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infrastructure::persistence::explain::all;
    use crate::testing::contracts::{Scene, Terms};
    use crate::testing::servers::PostgresShop;

    const TABLES: &str = r"
        SELECT relname::text FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
        ORDER BY relname
    ";

    const ANALYZE: Wanted = Wanted { analyze: true, format: PlanFormat::Json };
    const PLAN: Wanted = Wanted { analyze: false, format: PlanFormat::Json };

    async fn a_shop_that_has_sold() -> PostgresShop {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(5, 2)).await;
        let attempt = scene.attempt("ann", &[(1, 1)]).await;
        scene.decided(attempt).await;
        scene.attempt("bob", &[(2, 1), (3, 1)]).await;
        shop
    }

    /// All rows that a statement could change.
    async fn content(shop: &PostgresShop) -> Vec<(String, String)> {
        let tables: Vec<String> = sqlx::query_scalar(TABLES).fetch_all(&shop.pool).await.unwrap();
        let mut content = Vec::new();
        for table in tables {
            let rows = format!(
                "SELECT coalesce(string_agg(t::text, ' ' ORDER BY t::text), '') FROM {table} AS t"
            );
            let rows = sqlx::query_scalar(AssertSqlSafe(rows)).fetch_one(&shop.pool).await.unwrap();
            content.push((table, rows));
        }
        content
    }

    /// All plans, of which none may be missing.
    async fn explained(shop: &PostgresShop, wanted: Wanted) -> Vec<Explained> {
        let statements: Vec<_> = all().collect();
        let explained = explain(&shop.database().await, &statements, wanted).await.unwrap();
        for one in &explained {
            assert!(one.plan.is_ok(), "{one:?}");
        }
        explained
    }

    #[tokio::test]
    async fn every_statement_has_a_plan_also_before_there_is_a_sale() {
        let shop = PostgresShop::open().await;

        let explained = explained(&shop, PLAN).await;

        assert_eq!(explained.len(), all().count());
    }

    #[tokio::test]
    async fn statements_that_are_run_change_nothing() {
        let shop = a_shop_that_has_sold().await;
        let before = content(&shop).await;

        let explained = explained(&shop, ANALYZE).await;

        assert_eq!(content(&shop).await, before);
        let read = explained.iter().find(|one| one.name == "read_checkouts").unwrap();
        let plan = read.plan.as_ref().unwrap();
        // A fraction since PostgreSQL 18.
        assert_eq!(plan[0]["Plan"]["Actual Rows"].as_f64(), Some(1.0), "{plan:#}");
    }

    #[tokio::test]
    async fn statements_are_run_on_a_sale_that_has_ended_too() {
        let shop = a_shop_that_has_sold().await;
        shop.execute("UPDATE sales SET ends_at = clock_timestamp()").await;
        let before = content(&shop).await;

        explained(&shop, ANALYZE).await;

        assert_eq!(content(&shop).await, before);
    }

    #[tokio::test]
    async fn nothing_is_run_without_a_sale() {
        let shop = PostgresShop::open().await;
        let statements: Vec<_> = all().collect();

        let refused = explain(&shop.database().await, &statements, ANALYZE).await;

        assert!(matches!(refused, Err(ExplainError::NoSale)), "{refused:?}");
    }

    #[tokio::test]
    async fn a_buyers_lock_is_waited_for_a_short_time_only() {
        let shop = a_shop_that_has_sold().await;
        let mut buyer = shop.pool.begin().await.unwrap();
        sqlx::query("UPDATE buyers SET bought = bought").execute(&mut *buyer).await.unwrap();
        let statements: Vec<_> = all().filter(|one| one.name == "write_checkouts").collect();

        let explained = explain(&shop.database().await, &statements, ANALYZE).await.unwrap();

        let refusal = explained[0].plan.as_ref().unwrap_err();
        assert!(refusal.contains("lock timeout"), "{refusal}");
        buyer.rollback().await.unwrap();
    }
}
