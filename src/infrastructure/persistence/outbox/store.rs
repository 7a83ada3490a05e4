//! The outbox. Batches of purchases write to it (`purchase/sql.rs`), and here it is put in order and read.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use uuid::Uuid;

use crate::application::ports::{
    CancelledPurchase, EventPositions, Outbox, OutboxContent, OutboxRow, PortError, Pruned,
};
use crate::domain::checkout::Line;
use crate::domain::ids::{AttemptId, BuyerId, ItemNo, Quantity, SaleId};
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::pool::tx::Options;
use crate::infrastructure::persistence::row::from_row;

const WHAT: &str = "the outbox";
/// Maximum number of rows that one statement orders.
const ORDERED: i32 = 1_000;
/// Maximum number of rows that one statement deletes.
const STEP: i64 = 5_000;
/// Maximum number of statements of one pruning.
const STEPS: usize = 100;

/// Explained beside the function, in the migration.
pub(crate) const ORDER: &str = "SELECT order_outbox($1)";

pub(crate) const READ: &str = r"
    SELECT position, batch, written_at, sale_id, kind, attempts, items, data::text AS data
    FROM outbox
    WHERE position > $1
    ORDER BY position
    LIMIT $2
";

const LOCK_ORDER: &str = "SELECT FROM outbox_order FOR UPDATE";

const END: &str = "SELECT last FROM outbox_order";

/// The first position of what was written at this time or later. Positions were given in nearly the order of time: what was written
/// before may stand behind it, and is read again then.
const POSITION_AT: &str = r"
    SELECT coalesce(
        (SELECT position FROM outbox WHERE written_at >= $1 AND position IS NOT NULL ORDER BY position LIMIT 1),
        (SELECT last + 1 FROM outbox_order)
    )
";

/// The last position of what was written before this time; what was written later and stands before it is read again.
const POSITION_BEFORE: &str = r"
    SELECT coalesce(
        (SELECT position FROM outbox WHERE written_at < $1 AND position IS NOT NULL ORDER BY position DESC LIMIT 1),
        0
    )
";

pub(crate) const ANNOUNCE_OPENINGS: &str = r"
    WITH opened AS (
        INSERT INTO announcements (sale_id, kind, mark)
        SELECT s.id, 'sale.opened', (extract(epoch FROM s.starts_at) * 1000000)::bigint
        FROM sales AS s
        WHERE s.starts_at <= clock_timestamp()
          AND s.starts_at > clock_timestamp() - make_interval(secs => $1)
          AND NOT EXISTS (
              SELECT FROM announcements AS a
              WHERE a.sale_id = s.id AND a.kind = 'sale.opened'
                AND a.mark = (extract(epoch FROM s.starts_at) * 1000000)::bigint
          )
        ORDER BY s.starts_at, s.id
        ON CONFLICT DO NOTHING
        RETURNING sale_id
    )
    INSERT INTO outbox (sale_id, kind)
    SELECT sale_id, 'sale.opened' FROM opened
";

/// Returns a row for each sink that had not received all deleted events.
pub(crate) const PRUNE: &str = r"
    WITH pruned AS (
        DELETE FROM outbox
        WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM (
                SELECT ctid, written_at FROM outbox
                WHERE position IS NOT NULL
                ORDER BY position
                LIMIT $2
                FOR UPDATE SKIP LOCKED
            ) AS oldest
            WHERE written_at < clock_timestamp() - make_interval(secs => $1)
        ))
        RETURNING position, greatest(1, cardinality(attempts) + cardinality(items)) AS events
    ), reader AS (
        SELECT name AS sink, position FROM event_sinks WHERE name = ANY ($3)
        UNION ALL
        SELECT 'webhook', position FROM webhooks
    ), missed AS (
        SELECT r.sink, sum(p.events)::bigint AS events
        FROM reader AS r JOIN pruned AS p ON p.position > r.position
        GROUP BY r.sink
    )
    SELECT (SELECT count(*) FROM pruned) AS rows,
           coalesce(array_agg(sink ORDER BY sink), '{}') AS sinks,
           coalesce(array_agg(events ORDER BY sink), '{}') AS events
    FROM missed
";

/// Given-up events have the age of all others.
pub(crate) const PRUNE_GIVEN_UP: &str = r"
    DELETE FROM webhook_deliveries
    WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM webhook_deliveries
        WHERE is_dead AND written_at < clock_timestamp() - make_interval(secs => $1)
        LIMIT $2
        FOR UPDATE SKIP LOCKED
    ))
";

from_row! {
    #[derive(Debug)]
    struct Row {
        position: i64,
        batch: Uuid,
        written_at: DateTime<Utc>,
        sale_id: i64,
        kind: String,
        attempts: Vec<i64>,
        items: Vec<i32>,
        data: Option<String>,
    }
}

from_row! {
    #[derive(Debug)]
    struct PrunedRow {
        rows: i64,
        sinks: Vec<String>,
        events: Vec<i64>,
    }
}

impl PrunedRow {
    fn add_to(self, all: &mut Pruned) {
        all.rows += self.rows.unsigned_abs();
        for (sink, events) in self.sinks.into_iter().zip(self.events) {
            match all.missed.iter_mut().find(|(name, _)| *name == sink) {
                Some((_, missed)) => *missed += events.unsigned_abs(),
                None => all.missed.push((sink, events.unsigned_abs())),
            }
        }
    }
}

impl Row {
    fn into_row(self) -> Option<OutboxRow> {
        let content = match (self.kind.as_str(), self.data) {
            ("settled", _) => {
                let attempts = self.attempts.into_iter().map(AttemptId::new);
                let items = self.items.into_iter().map(ItemNo);
                OutboxContent::Settled(attempts.collect::<Option<_>>()?, items.collect())
            }
            ("cancelled", Some(data)) => OutboxContent::Cancelled(cancelled(&data)?),
            ("sale.opened", _) => OutboxContent::SaleOpened,
            ("sale.sold_out", _) => OutboxContent::SaleSoldOut,
            ("sale.ended", Some(report)) => OutboxContent::SaleEnded(report),
            _ => return None,
        };
        Some(OutboxRow {
            position: self.position,
            batch: self.batch,
            written_at: self.written_at,
            sale: SaleId::new(self.sale_id)?,
            content,
        })
    }
}

/// What a transaction wrote about a cancellation.
#[derive(Debug, Deserialize)]
struct CancelledData {
    attempt: i64,
    buyer: String,
    cancelled_at: DateTime<Utc>,
    pieces_left: i32,
    lines: Vec<LineData>,
}

#[derive(Debug, Deserialize)]
struct LineData {
    item: i32,
    quantity: i32,
}

fn cancelled(data: &str) -> Option<CancelledPurchase> {
    let data: CancelledData = serde_json::from_str(data).ok()?;
    let line = |line: LineData| {
        Some(Line { item: ItemNo(line.item), quantity: Quantity::new(line.quantity)? })
    };
    Some(CancelledPurchase {
        attempt: AttemptId::new(data.attempt)?,
        buyer: BuyerId::parse(&data.buyer).ok()?,
        cancelled_at: data.cancelled_at,
        lines: data.lines.into_iter().map(line).collect::<Option<_>>()?,
        pieces_left: data.pieces_left,
    })
}

/// Reads the outbox.
pub(crate) struct PostgresOutbox {
    database: Database,
}

impl PostgresOutbox {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }

    /// A write that is safe to repeat.
    async fn write<T>(
        &self,
        write: impl Future<Output = Result<T, DatabaseError>>,
    ) -> Result<T, PortError> {
        let within = self.database.within(self.database.answer_timeout(), write);
        within.await.map_err(|error| error.into_port_error(WHAT))
    }
}

#[async_trait]
impl Outbox for PostgresOutbox {
    async fn order(&self) -> Result<u64, PortError> {
        let mut rows = 0;
        loop {
            let order = async {
                let mut connection = self.database.acquire().await?;
                let query = sqlx::query_scalar(ORDER).bind(ORDERED).fetch_one(&mut *connection);
                self.database.time(Statement::Outbox, query).await
            };
            let ordered: i32 = self.write(order).await?;
            rows += u64::try_from(ordered).unwrap_or_default();
            if ordered < ORDERED {
                return Ok(rows);
            }
        }
    }

    async fn read(&self, after: i64, at_most: usize) -> Result<Vec<OutboxRow>, PortError> {
        let at_most = i64::try_from(at_most).unwrap_or(i64::MAX);
        let query = || {
            let query = sqlx::query_as(READ).bind(after).bind(at_most);
            query.fetch_all(self.database.pool())
        };
        let rows: Vec<Row> = self.database.read_as(Statement::Outbox, WHAT, query).await?;
        let rows: Option<Vec<OutboxRow>> = rows.into_iter().map(Row::into_row).collect();
        rows.ok_or_else(|| DatabaseError::Unreadable("outbox").into_port_error(WHAT))
    }

    async fn end(&self) -> Result<i64, PortError> {
        let query = || sqlx::query_scalar(END).fetch_one(self.database.pool());
        self.database.read(WHAT, query).await
    }

    async fn announce_openings(&self, within: Duration) -> Result<(), PortError> {
        let announce = async {
            let mut connection = self.database.acquire().await?;
            let query = sqlx::query(ANNOUNCE_OPENINGS).bind(within.as_secs_f64());
            self.database.time(Statement::Outbox, query.execute(&mut *connection)).await
        };
        self.write(announce).await.map(drop)
    }

    async fn prune(&self, keep: Duration, sinks: &[&'static str]) -> Result<Pruned, PortError> {
        let mut pruned = Pruned::default();
        for _ in 0..STEPS {
            let delete = async {
                let mut connection = self.database.acquire().await?;
                let query = sqlx::query_as(PRUNE).bind(keep.as_secs_f64()).bind(STEP).bind(sinks);
                self.database.time(Statement::Outbox, query.fetch_one(&mut *connection)).await
            };
            let step: PrunedRow = self.write(delete).await?;
            let rows = step.rows;
            step.add_to(&mut pruned);
            if rows < STEP {
                break;
            }
        }
        let delete = async {
            let mut connection = self.database.acquire().await?;
            let query = sqlx::query(PRUNE_GIVEN_UP).bind(keep.as_secs_f64()).bind(STEP);
            self.database.time(Statement::Outbox, query.execute(&mut *connection)).await
        };
        self.write(delete).await?;
        Ok(pruned)
    }
}

#[async_trait]
impl EventPositions for PostgresOutbox {
    async fn end(&self) -> Result<i64, PortError> {
        // Waits for the transaction that gives positions now, so that everything committed before has one.
        let end = self.database.transaction(Options::WRITE, |mut tx| async move {
            sqlx::query(LOCK_ORDER).execute(&mut *tx).await?;
            while sqlx::query_scalar::<_, i32>(ORDER).bind(ORDERED).fetch_one(&mut *tx).await?
                == ORDERED
            {}
            let end: i64 = sqlx::query_scalar(END).fetch_one(&mut *tx).await?;
            Ok((tx, end))
        });
        end.await.map_err(|error| error.into_port_error(WHAT))
    }

    async fn position_at(&self, time: DateTime<Utc>) -> Result<i64, PortError> {
        self.order().await?;
        let query = || sqlx::query_scalar(POSITION_AT).bind(time).fetch_one(self.database.pool());
        self.database.read(WHAT, query).await
    }

    async fn position_before(&self, time: DateTime<Utc>) -> Result<i64, PortError> {
        self.order().await?;
        let query =
            || sqlx::query_scalar(POSITION_BEFORE).bind(time).fetch_one(self.database.pool());
        self.database.read(WHAT, query).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::contracts::{Scene, Terms};
    use crate::testing::servers::PostgresShop;

    const DAY: Duration = Duration::from_hours(24);

    async fn outbox(shop: &PostgresShop) -> PostgresOutbox {
        PostgresOutbox::new(shop.database().await)
    }

    /// All rows in order.
    async fn log(outbox: &PostgresOutbox) -> Vec<OutboxRow> {
        outbox.order().await.unwrap();
        outbox.read(0, 1_000).await.unwrap()
    }

    fn contents(log: &[OutboxRow]) -> Vec<OutboxContent> {
        log.iter().map(|row| row.content.clone()).collect()
    }

    fn settled(attempts: &[AttemptId], sold_out: &[i32]) -> OutboxContent {
        let items = sold_out.iter().copied().map(ItemNo).collect();
        OutboxContent::Settled(attempts.to_vec(), items)
    }

    async fn buys(scene: &Scene<'_>, who: &str, item: i32) -> AttemptId {
        let attempt = scene.attempt(who, &[(item, 1)]).await;
        scene.decided(attempt).await;
        attempt
    }

    #[tokio::test]
    async fn a_batch_writes_its_purchases_and_the_items_that_it_sold_out() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(3, 2)).await;
        let outbox = outbox(&shop).await;

        let ann = buys(&scene, "ann", 1).await;
        let bob = buys(&scene, "bob", 1).await;
        // A repeat decides nothing.
        scene.settle(bob).await;

        let log = log(&outbox).await;
        assert_eq!(contents(&log), [settled(&[ann], &[]), settled(&[bob], &[1])]);
        let positions: Vec<i64> = log.iter().map(|row| row.position).collect();
        assert_eq!(positions, [1, 3], "they count events");
        assert_eq!(Outbox::end(&outbox).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_purchase_that_is_not_written_leaves_no_event() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(3, 2)).await;
        let attempt = scene.attempt("ann", &[(1, 1)]).await;
        shop.execute("ALTER TABLE purchases ADD CONSTRAINT not_now CHECK (1 <> ALL (item_nos))")
            .await;

        let request = crate::testing::builders::settle_of(scene.sale, attempt);
        assert!(scene.instance.ledger.settle(request).await.is_err());

        assert_eq!(log(&outbox(&shop).await).await, []);
    }

    #[tokio::test]
    async fn a_row_that_commits_late_is_read_after_those_that_were_faster() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(3, 9)).await;
        let outbox = outbox(&shop).await;
        let mut late = shop.pool.begin().await.unwrap();
        let write = "INSERT INTO outbox (sale_id, kind, attempts) VALUES (1, 'settled', '{77}')";
        sqlx::query(write).execute(&mut *late).await.unwrap();
        let ann = buys(&scene, "ann", 1).await;

        let early = log(&outbox).await;
        late.commit().await.unwrap();
        outbox.order().await.unwrap();
        let rest = outbox.read(early.last().unwrap().position, 10).await.unwrap();

        assert_eq!(contents(&early), [settled(&[ann], &[])]);
        assert_eq!(contents(&rest), [settled(&[AttemptId::new(77).unwrap()], &[])]);
    }

    #[tokio::test]
    async fn while_one_instance_gives_positions_the_others_do_not_wait_and_give_none() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(3, 9)).await;
        let outbox = outbox(&shop).await;
        buys(&scene, "ann", 1).await;
        let mut other = shop.pool.begin().await.unwrap();
        sqlx::query("SELECT FROM outbox_order FOR UPDATE").execute(&mut *other).await.unwrap();

        assert_eq!(log(&outbox).await, []);
        other.rollback().await.unwrap();

        assert_eq!(log(&outbox).await.len(), 1);
    }

    #[tokio::test]
    async fn the_end_contains_what_was_committed_before_also_while_another_instance_gives_positions()
     {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(3, 9)).await;
        let outbox = outbox(&shop).await;
        buys(&scene, "ann", 1).await;
        let mut other = shop.pool.begin().await.unwrap();
        sqlx::query("SELECT FROM outbox_order FOR UPDATE").execute(&mut *other).await.unwrap();

        let (end, ()) = tokio::join!(EventPositions::end(&outbox), async {
            shop.wait_until_blocked().await;
            other.rollback().await.unwrap();
        });

        assert_eq!(end.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_sale_is_announced_as_sold_out_once_for_each_time_that_it_is() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(2, 1)).await;
        let outbox = outbox(&shop).await;
        buys(&scene, "ann", 1).await;
        assert_eq!(log(&outbox).await.len(), 1);
        buys(&scene, "bob", 2).await;
        log(&outbox).await;
        let is_sold_out = |row: &&OutboxRow| row.content == OutboxContent::SaleSoldOut;
        assert_eq!(log(&outbox).await.iter().filter(is_sold_out).count(), 1);

        shop.execute("UPDATE item_stock SET stock = 2 WHERE item_no = 1").await;
        shop.execute("UPDATE sales SET generation = generation + 1").await;
        buys(&scene, "cat", 1).await;
        log(&outbox).await;

        assert_eq!(log(&outbox).await.iter().filter(is_sold_out).count(), 2);
    }

    #[tokio::test]
    async fn an_opening_is_announced_once() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(2, 1)).await;
        let (outbox, other) = (outbox(&shop).await, outbox(&shop).await);
        for outbox in [&outbox, &other, &outbox] {
            outbox.announce_openings(DAY).await.unwrap();
        }
        assert_eq!(contents(&log(&outbox).await), [OutboxContent::SaleOpened]);

        scene.postpone().await;
        outbox.announce_openings(DAY).await.unwrap();

        assert_eq!(log(&outbox).await.len(), 1, "it has not opened again yet");
    }

    #[tokio::test]
    async fn a_replay_begins_before_what_was_written_at_its_time() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(3, 9)).await;
        let outbox = outbox(&shop).await;
        buys(&scene, "ann", 1).await;
        let bob = buys(&scene, "bob", 1).await;
        let written_at = log(&outbox).await[1].written_at;

        let begin = outbox.position_at(written_at).await.unwrap();
        let after_all = outbox.position_at(written_at + chrono::Duration::hours(1)).await.unwrap();

        let replayed = outbox.read(begin - 1, 10).await.unwrap();
        assert_eq!(contents(&replayed), [settled(&[bob], &[])]);
        assert_eq!(after_all, Outbox::end(&outbox).await.unwrap() + 1);
    }

    #[tokio::test]
    async fn rows_are_deleted_when_they_are_old() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(3, 9)).await;
        let outbox = outbox(&shop).await;
        buys(&scene, "ann", 1).await;
        log(&outbox).await;
        shop.execute("UPDATE outbox SET written_at = written_at - interval '2 days'").await;
        let bob = buys(&scene, "bob", 1).await;
        log(&outbox).await;

        assert_eq!(outbox.prune(DAY, &[]).await.unwrap(), Pruned { rows: 1, missed: vec![] });

        assert_eq!(contents(&log(&outbox).await), [settled(&[bob], &[])]);
    }

    #[tokio::test]
    async fn what_is_deleted_before_somebody_has_received_it_is_counted() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(3, 1)).await;
        let outbox = outbox(&shop).await;
        // Three purchases, each of which sells an item out: six events.
        for (who, item) in [("ann", 1), ("bob", 2), ("eve", 3)] {
            buys(&scene, who, item).await;
            log(&outbox).await;
        }
        shop.execute(
            "INSERT INTO event_sinks (name, position) VALUES ('stream', 6), ('nats', 2), ('old', 0);
             INSERT INTO webhooks (id, url, secret, position) VALUES ('a', 'http://a', 's', 4), ('b', 'http://b', 's', 0);
             INSERT INTO webhook_deliveries (webhook_id, event_id, order_key, kind, body, happened_at, written_at, is_dead,
                 attempts, next_try_at, last_error)
             SELECT 'a', id, 'k', 'purchase.settled', '', now(), now() - age, is_dead, 1, now(), 'refused'
             FROM (VALUES ('1', interval '2 days', true), ('2', interval '2 days', false), ('3', interval '0', true))
                 AS t(id, age, is_dead);
             UPDATE outbox SET written_at = written_at - interval '2 days' WHERE position < 6",
        )
        .await;

        let pruned = outbox.prune(DAY, &["stream", "nats"]).await.unwrap();

        let missed = vec![("nats".to_owned(), 2), ("webhook".to_owned(), 4)];
        assert_eq!(pruned, Pruned { rows: 2, missed });
        let left: Vec<String> =
            sqlx::query_scalar("SELECT event_id FROM webhook_deliveries ORDER BY event_id")
                .fetch_all(&shop.pool)
                .await
                .unwrap();
        assert_eq!(left, ["2", "3"]);
    }

    #[tokio::test]
    async fn a_time_ends_behind_all_that_was_written_in_it_whatever_the_order() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(3, 9)).await;
        let outbox = outbox(&shop).await;
        for who in ["ann", "bob", "eve"] {
            buys(&scene, who, 1).await;
            log(&outbox).await;
        }
        // Bob's was written last, and has got its position before Eve's.
        shop.execute(
            "UPDATE outbox SET written_at = timestamptz '2026-01-01 00:00:00Z'
                 + CASE position WHEN 1 THEN 1 WHEN 2 THEN 5 ELSE 2 END * interval '1 second'",
        )
        .await;
        let before = async |second: i64| {
            let time = DateTime::from_timestamp(1_767_225_600 + second, 0).unwrap();
            outbox.position_before(time).await.unwrap()
        };

        assert_eq!(
            [before(1).await, before(2).await, before(3).await, before(6).await],
            [0, 1, 3, 3]
        );
    }
}
