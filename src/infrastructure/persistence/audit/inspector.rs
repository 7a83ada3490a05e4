//! The inspector in PostgreSQL: runs every check in one snapshot, so that the result is right while the sale goes on.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, PgConnection};

use super::checks::{CHECKS, Check};
use super::scope::SCOPE;
use crate::application::ports::{Finding, Inspector, PortError};
use crate::domain::ids::SaleId;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::pool::tx::Options;
use crate::infrastructure::persistence::row::from_row;

/// The session's settings are for statements that read few rows; these are for reading all of them.
///
/// Hash joins and aggregates, partition by partition, suit every check. Tables that have just grown have no statistics, and the planner
/// would choose nested loops that take hours, or sorts. Parallel workers would take cores from the sale, and their shared hash tables do
/// not fit into the 64 MB of shared memory of a container.
const SETTINGS: &str = r"
    SELECT set_config('idle_in_transaction_session_timeout', '60s', true),
           set_config('plan_cache_mode', 'force_custom_plan', true),
           set_config('enable_nestloop', 'off', true),
           set_config('enable_mergejoin', 'off', true),
           set_config('enable_partitionwise_join', 'on', true),
           set_config('enable_partitionwise_aggregate', 'on', true),
           set_config('max_parallel_workers_per_gather', '0', true),
           set_config('work_mem', '64MB', true),
           set_config('jit', 'off', true)
";

/// Keeps the tables of partitions from being detached while they are read. Before the first snapshot, which then sees all of those that
/// are being dropped. Only the parents: a detachment locks them.
const KEEP_PARTITIONS: &str = r"
    LOCK TABLE ONLY items, ONLY item_stock, ONLY buyers, ONLY checkout_attempts, ONLY checkout_items, ONLY purchases,
                    ONLY purchase_items, ONLY checkout_refusals, ONLY purchase_cancellations
    IN ACCESS SHARE MODE
";

/// Partitions that are being dropped, by their hundreds.
const DROPPING: &str = r"
    SELECT coalesce(array_agg(first / 100), '{}') FROM dropped_partitions WHERE dropped_at IS NULL
";

/// Checks the data in PostgreSQL.
pub(crate) struct PostgresInspector {
    database: Database,
    timeout: Duration,
}

impl PostgresInspector {
    /// Inspects for at most `timeout`.
    pub(crate) fn new(database: Database, timeout: Duration) -> Self {
        Self { database, timeout }
    }
}

#[async_trait]
impl Inspector for PostgresInspector {
    async fn inspect(&self, sale: Option<SaleId>) -> Result<Vec<Finding>, PortError> {
        let options = Options { timeout: Some(self.timeout), ..Options::SNAPSHOT };
        self.database
            .transaction(options, |mut tx| async move {
                let findings = run_checks(&mut tx, sale);
                let findings = self.database.time(Statement::Read, findings).await?;
                Ok((tx, findings))
            })
            .await
            .map_err(|error| error.into_port_error("the inspection"))
    }
}

from_row! {
    /// The result of a check.
    #[derive(Debug)]
    struct ResultRow {
        counted: i64,
        broken: i64,
        examples: Vec<String>,
    }
}

async fn run_checks(
    connection: &mut PgConnection,
    sale: Option<SaleId>,
) -> Result<Vec<Finding>, sqlx::Error> {
    sqlx::raw_sql(KEEP_PARTITIONS).execute(&mut *connection).await?;
    sqlx::query(SETTINGS).execute(&mut *connection).await?;
    let dropping: Vec<i64> = sqlx::query_scalar(DROPPING).fetch_one(&mut *connection).await?;
    let mut findings = Vec::with_capacity(CHECKS.len());
    for check in CHECKS {
        let result: ResultRow = sqlx::query_as(AssertSqlSafe(statement(check)))
            .bind(sale.map(SaleId::get))
            .bind(&dropping)
            .persistent(false)
            .fetch_one(&mut *connection)
            .await?;
        findings.push(Finding {
            promise: check.promise,
            check: check.what,
            counted: result.counted,
            broken: result.broken,
            examples: result.examples,
        });
    }
    Ok(findings)
}

/// The check as one statement that returns one row, made from constants of this program. It reads the data once, and a second time for
/// the examples only if the rule is broken.
fn statement(check: &Check) -> String {
    format!(
        r"{SCOPE},
seen (is_broken, example) AS NOT MATERIALIZED ({}
)
SELECT count(*) AS counted,
       count(*) FILTER (WHERE is_broken) AS broken,
       CASE WHEN bool_or(is_broken)
            THEN ARRAY(SELECT example FROM seen WHERE is_broken ORDER BY example LIMIT 5)
            ELSE ARRAY[]::text[]
       END AS examples
FROM seen",
        check.sql
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::application::ports::{CodeSigner, PurchaseCanceller};
    use crate::domain::cancellation::Wanted;
    use crate::infrastructure::persistence::operators::canceller::PostgresPurchaseCanceller;
    use crate::testing::builders::line;
    use crate::testing::contracts::refusal_store::{RefusalWorld, flush};
    use crate::testing::contracts::{Scene, Terms};
    use crate::testing::fakes::FakeSigner;
    use crate::testing::sabotage::SABOTAGES;
    use crate::testing::servers::PostgresShop;

    #[test]
    fn every_check_has_a_sabotage_and_every_sabotage_a_check() {
        let checks: BTreeSet<_> = CHECKS.iter().map(|c| (c.promise, c.what)).collect();
        let sabotages: BTreeSet<_> = SABOTAGES.iter().map(|s| (s.promise, s.check)).collect();

        assert_eq!(checks, sabotages);
        assert_eq!(checks.len(), CHECKS.len(), "two checks have one name");
    }

    /// Ann and eve have bought, zoe came too late, bob's checkout is open, max has given something back, and there are refusals with
    /// details.
    async fn a_shop_with_history() -> PostgresShop {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(5, 2)).await;
        for (name, lines) in
            [("ann", &[(1, 1), (2, 2)][..]), ("eve", &[(1, 1), (3, 1)]), ("ann", &[(4, 1)])]
        {
            let attempt = scene.attempt(name, lines).await;
            scene.decided(attempt).await;
        }
        let too_late = scene.extra_attempt("zoe", &[line(1, 1), line(2, 1)]).await;
        scene.decided(too_late).await;
        scene.attempt("bob", &[(3, 1), (5, 2)]).await;
        let returned = scene.attempt("max", &[(4, 1)]).await;
        scene.decided(returned).await;
        let canceller = PostgresPurchaseCanceller::new(shop.database().await);
        let code = FakeSigner { key: 1 }.sign(scene.sale, returned);
        canceller.cancel(code, &Wanted::All, "eve").await.unwrap().unwrap();
        let refusals = RefusalWorld::instance(&shop).await;
        refusals.append(&flush(scene.sale, 1, 4, 2)).await.unwrap();
        shop
    }

    async fn broken(shop: &PostgresShop) -> Vec<(&'static str, &'static str)> {
        let inspector = PostgresInspector::new(shop.database().await, Duration::from_secs(30));
        let findings = inspector.inspect(None).await.unwrap();
        let broken = findings.iter().filter(|finding| finding.broken > 0);
        broken.map(|finding| (finding.promise, finding.check)).collect()
    }

    #[tokio::test]
    async fn nothing_is_broken_in_an_ordinary_shop() {
        assert_eq!(broken(&a_shop_with_history().await).await, []);
    }

    #[tokio::test]
    async fn every_sabotage_is_found_by_its_check() {
        let shop = a_shop_with_history().await;

        let mut missed = Vec::new();
        for sabotage in SABOTAGES {
            let copy = shop.copy().await;
            for sql in sabotage.sql {
                copy.execute(sql).await;
            }
            let found = broken(&copy).await;
            if !found.contains(&(sabotage.promise, sabotage.check)) {
                missed.push((sabotage.name, sabotage.check, found));
            }
        }

        assert!(missed.is_empty(), "{missed:#?}");
    }

    #[tokio::test]
    async fn violations_are_counted_and_named_in_their_own_sale_only() {
        let shop = a_shop_with_history().await;
        let other = Scene::open(&shop, Terms::unique(1)).await;
        shop.execute("ALTER TABLE item_stock DROP CONSTRAINT items_sold_within_stock").await;
        shop.execute("UPDATE item_stock SET sold = 3 WHERE sale_id = 1 AND item_no IN (3, 5)")
            .await;
        let inspector = PostgresInspector::new(shop.database().await, Duration::from_secs(30));

        let here = inspector.inspect(SaleId::new(1)).await.unwrap();
        let there = inspector.inspect(Some(other.sale)).await.unwrap();

        assert_eq!((here[0].counted, here[0].broken), (5, 2));
        assert_eq!(here[0].examples[0], "sale 1 item 3: sold 3 of 2");
        assert_eq!((there[0].counted, there[0].broken), (1, 0));
    }
}
