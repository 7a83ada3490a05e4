//! The inspector in PostgreSQL: makes every check in one snapshot, so that the result is right while the sale goes on. Most are proven
//! together, by counts; what counts cannot prove, a check's own query finds.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection};

use super::checks::{CANCELLED_LINES, CHECKS, Check, OPEN_ATTEMPTS};
use super::counts::{BUYERS, COLLECTED, ITEMS, LINES, LineRow, OtherCounts, Proven, UNIQUE};
use super::scope::SCOPE;
use crate::application::ports::{Finding, Inspector, PortError};
use crate::domain::ids::SaleId;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::pool::tx::{Options, Tx};
use crate::infrastructure::persistence::row::from_row;

/// The session's settings are for statements that read few rows; these are for reading all of them.
///
/// Hash joins and aggregates, partition by partition, suit every check. Tables that have just grown have no statistics, and the planner
/// would choose nested loops that take hours, or sorts. Parallel workers would take cores from the sale, and their shared hash tables do
/// not fit into the 64 MB of shared memory of a container.
const SETTINGS: &str = r"
    SELECT set_config('plan_cache_mode', 'force_custom_plan', true),
           set_config('enable_nestloop', 'off', true),
           set_config('enable_hashjoin', 'on', true),
           set_config('enable_hashagg', 'on', true),
           set_config('enable_mergejoin', 'off', true),
           set_config('enable_seqscan', 'on', true),
           set_config('enable_sort', 'on', true),
           set_config('enable_partitionwise_join', 'on', true),
           set_config('enable_partitionwise_aggregate', 'on', true),
           set_config('max_parallel_workers_per_gather', '0', true),
           set_config('work_mem', '64MB', true),
           set_config('jit', 'off', true)
";

/// For [`LINES`], after [`SETTINGS`]: merge joins of what the primary keys have in order. Hash tables of millions of lines would be
/// written to disk and read again. Joined partition by partition, the order would be lost.
const IN_ORDER: &str = r"
    SELECT set_config('enable_hashjoin', 'off', true),
           set_config('enable_hashagg', 'off', true),
           set_config('enable_mergejoin', 'on', true),
           set_config('enable_seqscan', 'off', true),
           set_config('enable_sort', 'off', true),
           set_config('enable_partitionwise_join', 'off', true),
           set_config('enable_partitionwise_aggregate', 'off', true)
";

/// A name by which another connection sees the same data, and whether others are at work in the database.
const SNAPSHOT: &str = r"
    SELECT pg_export_snapshot(),
           EXISTS (SELECT FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()
                     AND backend_type = 'client backend' AND state <> 'idle')
";

/// Keeps the tables of partitions from being detached while they are read. Before the first snapshot, which then sees all of those that
/// are being dropped. Only the parents: a detachment locks them.
const KEEP_PARTITIONS: &str = r"
    LOCK TABLE ONLY items, ONLY item_stock, ONLY buyers, ONLY checkout_attempts, ONLY checkout_items, ONLY purchases,
                    ONLY checkout_refusals, ONLY purchase_cancellations
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
                let findings = Box::pin(self.findings(&mut tx, sale));
                let findings = self.database.time(Statement::Read, findings).await?;
                Ok((tx, findings))
            })
            .await
            .map_err(|error| error.into_port_error("the inspection"))
    }
}

impl PostgresInspector {
    async fn findings(
        &self,
        connection: &mut PgConnection,
        sale: Option<SaleId>,
    ) -> Result<Vec<Finding>, sqlx::Error> {
        sqlx::raw_sql(KEEP_PARTITIONS).execute(&mut *connection).await?;
        self.set_up(&mut *connection, "").await?;
        let dropping: Vec<i64> = sqlx::query_scalar(DROPPING).fetch_one(&mut *connection).await?;
        let scope = Scope { sale: sale.map(SaleId::get), dropping };
        let mut findings = Findings::default();
        let counts = if let Some(mut second) = self.second(&mut *connection).await? {
            let lines = scope.lines(&mut second);
            let others = scope.others(connection, &mut findings);
            let (lines, others) = tokio::try_join!(lines, others)?;
            others.with(lines)
        } else {
            let lines = scope.lines(connection).await?;
            sqlx::query(SETTINGS).execute(&mut *connection).await?;
            scope.others(connection, &mut findings).await?.with(lines)
        };
        match counts.prove() {
            Some(proven) => findings.add_proven(&proven),
            None => scope.check(connection, &mut findings, |check| check.proven.is_some()).await?,
        }
        Ok(findings.in_order())
    }

    /// Prepares a transaction; first by this statement.
    ///
    /// One connection may wait for the other as long as an inspection may take.
    async fn set_up(&self, connection: &mut PgConnection, first: &str) -> Result<(), sqlx::Error> {
        let ms = self.timeout.as_millis();
        let timeouts = format!(
            "{first}
             SET LOCAL statement_timeout = {ms};
             SET LOCAL idle_in_transaction_session_timeout = {ms};
             SET LOCAL client_connection_check_interval = '1s'"
        );
        // SET takes no parameters; `first` has at most the name of a snapshot.
        sqlx::raw_sql(AssertSqlSafe(timeouts)).execute(&mut *connection).await?;
        sqlx::query(SETTINGS).execute(connection).await?;
        Ok(())
    }

    /// A second connection that sees the same as the first, to halve the time. None while others are at work, such as in a rush: it needs
    /// the cores more. Nor if the server has no connection left.
    async fn second(&self, first: &mut PgConnection) -> Result<Option<Tx>, sqlx::Error> {
        let (snapshot, is_busy): (String, bool) = sqlx::query_as(SNAPSHOT).fetch_one(first).await?;
        if is_busy {
            return Ok(None);
        }
        let Ok(mut second) = self.database.separate(1).begin(Options::SNAPSHOT.begin()).await
        else {
            return Ok(None);
        };
        let same = format!("SET TRANSACTION SNAPSHOT '{snapshot}';");
        Ok(self.set_up(&mut second, &same).await.is_ok().then_some(second))
    }
}

/// What an inspection reads.
struct Scope {
    /// One sale, or all.
    sale: Option<i64>,
    /// Partitions that are being dropped.
    dropping: Vec<i64>,
}

impl Scope {
    /// The only row of a statement, which is made from constants of this program.
    async fn row<R>(&self, connection: &mut PgConnection, sql: &str) -> Result<R, sqlx::Error>
    where
        R: for<'r> sqlx::FromRow<'r, PgRow> + Send + Unpin,
    {
        let query = sqlx::query_as(AssertSqlSafe(format!("{SCOPE}{sql}")));
        let query = query.bind(self.sale).bind(&self.dropping).persistent(false);
        query.fetch_one(connection).await
    }

    async fn lines(&self, connection: &mut PgConnection) -> Result<LineRow, sqlx::Error> {
        sqlx::query(IN_ORDER).execute(&mut *connection).await?;
        self.row(connection, LINES).await
    }

    /// The counts beside [`LINES`], and the findings of the checks that no count can prove.
    async fn others(
        &self,
        connection: &mut PgConnection,
        findings: &mut Findings,
    ) -> Result<OtherCounts, sqlx::Error> {
        let buyers = self.row(&mut *connection, BUYERS).await?;
        let items = self.row(&mut *connection, ITEMS).await?;
        let collected = self.row(&mut *connection, COLLECTED).await?;
        let is_unique: bool = sqlx::query_scalar(UNIQUE).fetch_one(&mut *connection).await?;
        self.check(connection, findings, |check| check.proven.is_none()).await?;
        let has_premises =
            is_unique && findings.holds(OPEN_ATTEMPTS) && findings.holds(CANCELLED_LINES);
        Ok(OtherCounts { buyers, items, collected, has_premises })
    }

    /// Runs the own queries of some checks.
    async fn check(
        &self,
        connection: &mut PgConnection,
        findings: &mut Findings,
        is_wanted: impl Fn(&Check) -> bool,
    ) -> Result<(), sqlx::Error> {
        for (check, finding) in CHECKS.iter().zip(&mut findings.0).filter(|(c, _)| is_wanted(c)) {
            let result: ResultRow = self.row(&mut *connection, &statement(check)).await?;
            *finding = Some(Finding {
                promise: check.promise,
                check: check.what,
                counted: result.counted,
                broken: result.broken,
                examples: result.examples,
            });
        }
        Ok(())
    }
}

/// The findings so far, in the order of the checks.
struct Findings([Option<Finding>; CHECKS.len()]);

impl Default for Findings {
    fn default() -> Self {
        Self([const { None }; CHECKS.len()])
    }
}

impl Findings {
    /// Whether this check was made and found nothing.
    fn holds(&self, check: &str) -> bool {
        self.0.iter().flatten().any(|finding| finding.check == check && finding.broken == 0)
    }

    fn add_proven(&mut self, proven: &Proven) {
        for (check, finding) in CHECKS.iter().zip(&mut self.0) {
            let Some(counted) = check.proven else { continue };
            *finding = Some(Finding {
                promise: check.promise,
                check: check.what,
                counted: counted(proven),
                broken: 0,
                examples: Vec::new(),
            });
        }
    }

    fn in_order(self) -> Vec<Finding> {
        self.0.into_iter().flatten().collect()
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

/// The check as one statement that returns one row, made from constants of this program. It reads the data once, and a second time for
/// the examples only if the rule is broken.
fn statement(check: &Check) -> String {
    format!(
        r",
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

    use sqlx::Connection;

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

    /// The counts that prove checks, and what the own queries of those checks find.
    async fn both(connection: &mut PgConnection) -> (Option<Vec<Finding>>, Vec<Finding>) {
        let scope = Scope { sale: None, dropping: Vec::new() };
        let (mut proven, mut own) = (Findings::default(), Findings::default());
        sqlx::query(SETTINGS).execute(&mut *connection).await.unwrap();
        let lines = scope.lines(connection).await.unwrap();
        sqlx::query(SETTINGS).execute(&mut *connection).await.unwrap();
        let counts = scope.others(connection, &mut Findings::default()).await.unwrap().with(lines);
        let proof = counts.prove();
        if let Some(proof) = &proof {
            proven.add_proven(proof);
        }
        let is_wanted = |check: &Check| check.proven.is_some();
        scope.check(connection, &mut own, is_wanted).await.unwrap();
        (proof.map(|_| proven.in_order()), own.in_order())
    }

    /// A change to each column of each row, and the row's removal.
    const CHANGES: &[(&str, &[&str])] = &[
        ("items", &["item_no = item_no + 1000"]),
        ("item_stock", &["item_no = item_no + 1000", "stock = stock - 1", "sold = sold + 1"]),
        (
            "buyers",
            &[
                "user_id = user_id || 'x'",
                "open_attempt = CASE WHEN open_attempt IS NULL THEN 1 END",
                "open_attempt = coalesce(open_attempt, 0) + 1",
                "bought = bought + 1",
                "buyer_limit = buyer_limit + 1",
            ],
        ),
        ("checkout_attempts", &["id = id + 1000", "user_id = user_id || 'x'"]),
        (
            "checkout_items",
            &[
                "attempt_id = attempt_id + 1000",
                "item_no = item_no + 1000",
                "quantity = quantity + 1",
                "added_at = added_at - interval '9 days'",
            ],
        ),
        (
            "purchases",
            &[
                "attempt_id = attempt_id + 1000",
                "user_id = user_id || 'x'",
                "purchased_at = purchased_at + interval '9 days'",
                "total_purchased = total_purchased + 1",
                "failed_count = failed_count + 1",
                "item_nos[1] = item_nos[1] + 1000",
                "quantities[1] = quantities[1] + 1",
                "outcomes = translate(left(outcomes, 1), 'sol', 'oss') || substr(outcomes, 2)",
                "item_nos = item_nos[2:], quantities = quantities[2:], outcomes = substr(outcomes, 2)",
                "item_nos = item_nos[1] || item_nos, quantities = quantities[1] || quantities,
                 outcomes = left(outcomes, 1) || outcomes",
            ],
        ),
        ("purchase_cancellations", &["quantity = quantity + 1", "user_id = user_id || 'x'"]),
    ];

    /// Columns of keys: a copy of a row with another key is one too many.
    const COPIED_BY: &[(&str, &str)] = &[
        ("checkout_attempts", "id"),
        ("checkout_items", "attempt_id"),
        ("purchases", "attempt_id"),
    ];

    /// Statements that each damage one row.
    async fn damages(connection: &mut PgConnection) -> Vec<String> {
        let mut damages = Vec::new();
        for (table, changes) in CHANGES {
            let copied = COPIED_BY.iter().find(|(copied, _)| copied == table);
            let rows = format!("SELECT tableoid::regclass || ' ' || ctid FROM {table}");
            let rows = sqlx::query_scalar::<_, String>(AssertSqlSafe(rows));
            for row in rows.fetch_all(&mut *connection).await.unwrap() {
                let (table, place) = row.split_once(' ').unwrap();
                let place = format!("WHERE ctid = '{place}'");
                let changes = changes.iter().map(|to| format!("UPDATE {table} SET {to} {place}"));
                damages.extend(changes);
                damages.push(format!("DELETE FROM {table} {place}"));
                damages.extend(copied.map(|(_, key)| {
                    format!(
                        "INSERT INTO {table}
                         SELECT (jsonb_populate_record(t, jsonb_build_object('{key}', {key} + 2000))).*
                         FROM {table} AS t {place}"
                    )
                }));
            }
        }
        damages
    }

    #[tokio::test]
    async fn counts_prove_nothing_that_an_own_query_refutes() {
        let shop = a_shop_with_history().await;
        for constraint in [
            "item_stock DROP CONSTRAINT items_sold_within_stock",
            "buyers DROP CONSTRAINT buyers_bought_within_limit",
        ] {
            shop.execute(&format!("ALTER TABLE {constraint}")).await;
        }
        let mut connection = shop.pool.acquire().await.unwrap();
        let damages = damages(&mut connection).await;
        // Alone, and with another one that might make up for it.
        let alone = damages.iter().map(|one| (one, None));
        let shifted = damages.iter().cycle().skip(7);
        let pairs = damages.iter().zip(shifted).step_by(2).map(|(one, other)| (one, Some(other)));

        let (mut proven, mut refuted) = (0, 0);
        for (one, other) in alone.chain(pairs) {
            let mut tx = connection.begin().await.unwrap();
            let both_damages = format!("{one}; {}", other.map_or("", String::as_str));
            if sqlx::raw_sql(AssertSqlSafe(both_damages)).execute(&mut *tx).await.is_err() {
                // A primary key forbids it.
                continue;
            }
            let (counted, own) = both(&mut tx).await;
            match counted {
                Some(counted) => assert_eq!(counted, own, "{one}; {other:?}"),
                None => refuted += 1,
            }
            proven += i32::from(own.iter().all(|finding| finding.broken == 0));
            tx.rollback().await.unwrap();
        }
        let (counted, own) = both(&mut connection).await;

        assert_eq!(counted, Some(own));
        assert!(refuted > 100 && proven < refuted, "{refuted} refuted, {proven} proven");
    }

    #[tokio::test]
    async fn without_a_primary_key_nothing_is_proven() {
        let shop = a_shop_with_history().await;
        let mut connection = shop.pool.acquire().await.unwrap();
        shop.execute("ALTER TABLE checkout_items DROP CONSTRAINT checkout_items_pkey").await;

        let (counted, own) = both(&mut connection).await;

        assert_eq!(counted, None);
        assert!(own.iter().all(|finding| finding.broken == 0), "{own:?}");
    }

    #[tokio::test]
    async fn two_connections_share_the_work_and_see_the_same() {
        let shop = a_shop_with_history().await;
        let database = shop.database().await;
        let inspector = PostgresInspector::new(database.clone(), Duration::from_secs(30));
        let alone = {
            let mut busy = shop.pool.begin().await.unwrap();
            sqlx::raw_sql("SELECT 1").execute(&mut *busy).await.unwrap();
            let mut tx = database.begin(Options::SNAPSHOT.begin()).await.unwrap();
            assert!(inspector.second(&mut tx).await.unwrap().is_none());
            let findings = inspector.findings(&mut tx, None).await.unwrap();
            busy.rollback().await.unwrap();
            tx.commit().await.unwrap();
            findings
        };
        let mut tx = database.begin(Options::SNAPSHOT.begin()).await.unwrap();
        let count = "SELECT count(*) FROM purchases";
        let before: i64 = sqlx::query_scalar(count).fetch_one(&mut *tx).await.unwrap();

        shop.execute("DELETE FROM purchases").await;
        let mut second = loop {
            // Connections that go back to their pools are tested, and busy meanwhile.
            if let Some(second) = inspector.second(&mut tx).await.unwrap() {
                break second;
            }
        };
        let seen: i64 = sqlx::query_scalar(count).fetch_one(&mut *second).await.unwrap();

        assert_eq!(seen, before);
        assert_eq!(inspector.findings(&mut tx, None).await.unwrap(), alone);
    }
}
