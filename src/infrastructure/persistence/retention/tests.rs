//! Retention on real tables, while others use them.

#![cfg(test)]

use std::time::Duration;

use sqlx::AssertSqlSafe;

use super::PostgresRetention;
use crate::application::ports::{
    Inspector, KeptBecause, PageRequest, Partition, Retention, Settled,
};
use crate::domain::ids::SaleId;
use crate::domain::sale::{NewSale, SaleWindow};
use crate::infrastructure::persistence::audit::inspector::PostgresInspector;
use crate::testing::builders::{a_new_sale, buyer, sale_id, settle_of};
use crate::testing::contracts::{Scene, ShopWorld, Terms};
use crate::testing::servers::PostgresShop;

const DAY: Duration = Duration::from_hours(24);
const KEEP: Duration = Duration::from_hours(24 * 90);
const FIRST: Partition = Partition { first: 0, last: 99 };

/// All tables that have partitions.
const TABLES: [&str; 9] = [
    "items",
    "item_stock",
    "buyers",
    "checkout_attempts",
    "checkout_items",
    "purchases",
    "checkout_refusals",
    "purchase_cancellations",
    "purchase_requests",
];

async fn retention(shop: &PostgresShop) -> PostgresRetention {
    PostgresRetention::new(shop.database().await)
}

/// A sale with a purchase that ended a hundred days ago, is closed, and whose events are delivered.
async fn old_sale(shop: &PostgresShop) -> SaleId {
    let scene = Scene::open(shop, Terms::stocked(5, 9)).await;
    let attempt = scene.attempt("ann", &[(1, 1)]).await;
    scene.decided(attempt).await;
    age(shop, scene.sale).await;
    scene.sale
}

/// Moves all that happened in a sale into the past.
async fn age(shop: &PostgresShop, sale: SaleId) {
    let days = "interval '100 days'";
    let sale = sale.get();
    shop.execute(&format!(
        "UPDATE checkout_items SET added_at = added_at - {days} WHERE sale_id = {sale};
         UPDATE checkout_attempts SET created_at = created_at - {days} WHERE sale_id = {sale};
         UPDATE purchases SET purchased_at = purchased_at - {days} WHERE sale_id = {sale};
         UPDATE sales SET starts_at = starts_at - {days}, ends_at = ends_at - {days},
                          closed_end = ends_at - {days} WHERE id = {sale};
         SELECT order_outbox(1000)"
    ))
    .await;
}

async fn archive(shop: &PostgresShop, sales: &[SaleId]) -> Vec<SaleId> {
    retention(shop).await.archive(KEEP, sales, "ann").await.unwrap()
}

/// The tables of the first partition that are left.
async fn tables(shop: &PostgresShop) -> Vec<String> {
    let left = "SELECT relname::text FROM pg_class
                WHERE relname LIKE '%\\_from\\_0' AND relkind = 'r' ORDER BY relname";
    sqlx::query_scalar(left).fetch_all(&shop.pool).await.unwrap()
}

/// The checks that find something.
async fn broken(shop: &PostgresShop) -> Vec<&'static str> {
    let inspector = PostgresInspector::new(shop.database().await, DAY);
    let findings = inspector.inspect(None).await.unwrap();
    let broken = findings.iter().filter(|finding| finding.broken > 0);
    broken.map(|finding| finding.check).collect()
}

async fn text(shop: &PostgresShop, sql: &'static str) -> Option<String> {
    sqlx::query_scalar(sql).fetch_optional(&shop.pool).await.unwrap()
}

#[tokio::test]
async fn an_old_sale_leaves_a_small_row_and_who_archived_it() {
    let shop = PostgresShop::open().await;
    let (old, new) = (old_sale(&shop).await, Scene::open(&shop, Terms::unique(3)).await.sale);
    let retention = retention(&shop).await;

    let expired = retention.expired(KEEP).await.unwrap();
    let archived = retention.archive(KEEP, &[old, new], "ann").await.unwrap();

    assert_eq!(expired.iter().map(|one| (one.sale, one.kept)).collect::<Vec<_>>(), [(old, None)]);
    assert_eq!(archived, [old]);
    let tombstone =
        "SELECT id || ' ' || name || ' ' || (archived_at > ends_at + interval '99 days')
                     FROM archived_sales";
    assert!(text(&shop, tombstone).await.unwrap().starts_with("1 "));
    let audit = "SELECT actor || ' ' || (after ->> 'keep') || ' ' || (before ? 'name')
                 FROM sale_audit WHERE action = 'archived' AND sale_id = 1";
    assert_eq!(text(&shop, audit).await.unwrap(), "ann 90d true");
    assert_eq!(retention.archive(KEEP, &[old], "bob").await.unwrap(), []);
    assert_eq!(broken(&shop).await, [] as [&str; 0]);
}

#[tokio::test]
async fn a_sale_without_its_report_is_kept() {
    let shop = PostgresShop::open().await;
    let old = old_sale(&shop).await;
    shop.execute("UPDATE sales SET closed_end = NULL").await;

    assert_eq!(kept(&shop).await, [(old, Some(KeptBecause::ReportMissing))]);
    assert_eq!(archive(&shop, &[old]).await, []);
}

#[tokio::test]
async fn a_sale_whose_events_are_not_yet_delivered_is_kept() {
    let shop = PostgresShop::open().await;
    let old = old_sale(&shop).await;
    let behind = [
        (
            "INSERT INTO event_sinks (name, position) VALUES ('stream', 0)",
            "DELETE FROM event_sinks",
        ),
        (
            "INSERT INTO webhooks (id, url, secret, position) VALUES ('w', 'https://a', 's', 0)",
            "UPDATE webhooks SET position = 1",
        ),
        (
            "INSERT INTO webhook_replays (webhook_id, position, last) VALUES ('w', 0, 1)",
            "DELETE FROM webhook_replays",
        ),
        ("UPDATE outbox SET position = NULL", "SELECT order_outbox(10)"),
    ];

    for (wait, done) in behind {
        shop.execute(wait).await;
        assert_eq!(kept(&shop).await, [(old, Some(KeptBecause::EventsUndelivered))], "{wait}");
        assert_eq!(archive(&shop, &[old]).await, [], "{wait}");
        shop.execute(done).await;
        // Positions that were given again are behind those of before.
        shop.execute("UPDATE webhooks SET position = (SELECT last FROM outbox_order)").await;
    }

    assert_eq!(archive(&shop, &[old]).await, [old]);
}

async fn kept(shop: &PostgresShop) -> Vec<(SaleId, Option<KeptBecause>)> {
    let expired = retention(shop).await.expired(KEEP).await.unwrap();
    expired.iter().map(|one| (one.sale, one.kept)).collect()
}

#[tokio::test]
async fn a_sale_that_was_moved_meanwhile_is_kept() {
    let shop = PostgresShop::open().await;
    let old = old_sale(&shop).await;
    shop.execute(
        "UPDATE sales SET ends_at = clock_timestamp() + interval '1 hour', closed_end = NULL",
    )
    .await;

    assert_eq!(archive(&shop, &[old]).await, []);
}

#[tokio::test]
async fn of_an_archived_sale_nothing_is_read_while_its_neighbours_sell() {
    let shop = PostgresShop::open().await;
    let scene = Scene::open(&shop, Terms::stocked(5, 9)).await;
    let attempt = scene.attempt("ann", &[(1, 1)]).await;
    scene.decided(attempt).await;
    age(&shop, scene.sale).await;
    let neighbour = Scene::open(&shop, Terms::stocked(5, 9)).await;
    let theirs = neighbour.attempt("ann", &[(2, 1)]).await;
    neighbour.decided(theirs).await;

    archive(&shop, &[scene.sale]).await;

    let instance = &scene.instance;
    assert_eq!(instance.ledger.outcome(scene.sale, attempt).await.unwrap(), None);
    assert_eq!(scene.settle(attempt).await, Settled::Unknown);
    assert!(instance.checkouts.find(scene.sale, attempt).await.unwrap().is_none());
    let page = PageRequest { page: 1, limit: 10 };
    let history = instance.history.of_buyer(&buyer("ann"), None, page).await.unwrap();
    assert_eq!((history.total, history.entries[0].sale), (1, neighbour.sale));
    assert!(neighbour.instance.ledger.outcome(neighbour.sale, theirs).await.unwrap().is_some());
    // Its partition has a sale.
    assert_eq!(retention(&shop).await.empty_partitions().await.unwrap(), []);
    assert_eq!(tables(&shop).await.len(), TABLES.len());
    assert_eq!(broken(&shop).await, [] as [&str; 0]);
}

#[tokio::test]
async fn tables_go_with_the_last_sale_and_new_sales_get_others() {
    let shop = PostgresShop::open().await;
    let old = old_sale(&shop).await;
    archive(&shop, &[old]).await;
    let retention = retention(&shop).await;

    assert_eq!(retention.empty_partitions().await.unwrap(), [FIRST]);
    assert!(retention.drop_partition(FIRST).await.unwrap());

    assert_eq!(tables(&shop).await, [] as [&str; 0]);
    assert_eq!(retention.empty_partitions().await.unwrap(), []);
    assert!(retention.drop_partition(FIRST).await.unwrap(), "again");
    let next = Scene::open(&shop, Terms::unique(3)).await;
    assert_eq!(next.sale, sale_id(100));
    let attempt = next.attempt("bob", &[(1, 1)]).await;
    next.decided(attempt).await;
    assert_eq!(broken(&shop).await, [] as [&str; 0]);
}

#[tokio::test]
async fn what_a_run_that_died_has_left_is_finished_by_the_next() {
    let shop = PostgresShop::open().await;
    let old = old_sale(&shop).await;
    archive(&shop, &[old]).await;
    retention(&shop).await.empty_partitions().await.unwrap();
    // Between the detachment and the drop of one table, after another was dropped, and in the middle of a detachment.
    shop.execute("SELECT detach_partition('purchases', 0)").await;
    shop.execute("SELECT detach_partition('checkout_refusals', 0); SELECT drop_partition('checkout_refusals', 0)").await;
    leave_pending(&shop, "buyers").await;
    assert_eq!(broken(&shop).await, [] as [&str; 0], "while it is half done");

    let next = retention(&shop).await;
    assert_eq!(next.empty_partitions().await.unwrap(), [FIRST]);
    assert!(next.drop_partition(FIRST).await.unwrap());

    assert_eq!(tables(&shop).await, [] as [&str; 0]);
    assert_eq!(broken(&shop).await, [] as [&str; 0]);
}

/// A detachment that gave up because of a transaction that uses the table.
async fn leave_pending(shop: &PostgresShop, table: &str) {
    let mut reader = shop.pool.begin().await.unwrap();
    let read = format!("SELECT count(*) FROM {table}");
    sqlx::query(AssertSqlSafe(read)).execute(&mut *reader).await.unwrap();
    let mut session = shop.pool.acquire().await.unwrap();
    sqlx::raw_sql("SET lock_timeout = '10ms'").execute(&mut *session).await.unwrap();
    let detach = format!("ALTER TABLE {table} DETACH PARTITION {table}_from_0 CONCURRENTLY");
    sqlx::raw_sql(AssertSqlSafe(detach)).execute(&mut *session).await.unwrap_err();
    sqlx::raw_sql("RESET lock_timeout").execute(&mut *session).await.unwrap();
    reader.rollback().await.unwrap();
    let pending = "SELECT count(*)::text FROM pg_inherits WHERE inhdetachpending";
    assert_eq!(text(shop, pending).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_table_in_use_is_left_to_the_next_try_and_blocks_no_requests() {
    let shop = PostgresShop::open().await;
    let old = old_sale(&shop).await;
    archive(&shop, &[old]).await;
    let retention = retention(&shop).await;
    retention.empty_partitions().await.unwrap();
    let mut reader = shop.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM purchases").execute(&mut *reader).await.unwrap();

    assert!(!retention.drop_partition(FIRST).await.unwrap());

    // Nothing waits behind it: others buy, and read through the parent.
    let scene = Scene::open(&shop, Terms::unique(3)).await;
    let attempt = scene.attempt("bob", &[(1, 1)]).await;
    scene.decided(attempt).await;
    shop.execute("SELECT count(*) FROM purchases").await;
    reader.rollback().await.unwrap();
    assert!(retention.drop_partition(FIRST).await.unwrap());
    assert_eq!(tables(&shop).await, [] as [&str; 0]);
}

#[tokio::test]
async fn a_partition_with_a_sale_is_never_dropped() {
    let shop = PostgresShop::open().await;
    let scene = Scene::open(&shop, Terms::unique(3)).await;
    // A bug, or an operator, claims that it is sealed.
    shop.execute("INSERT INTO dropped_partitions (first) VALUES (0)").await;

    assert!(retention(&shop).await.drop_partition(FIRST).await.is_err());

    assert_eq!(tables(&shop).await.len(), TABLES.len());
    let attempt = scene.attempt("ann", &[(1, 1)]).await;
    scene.decided(attempt).await;
}

#[tokio::test]
async fn a_sale_whose_number_is_older_than_the_seal_is_not_created_without_tables() {
    let shop = PostgresShop::open().await;
    let old = old_sale(&shop).await;
    archive(&shop, &[old]).await;
    // Another process takes a number, and stops.
    shop.execute("SELECT ensure_partitions(nextval('sale_ids'))").await;
    retention(&shop).await.empty_partitions().await.unwrap();

    let late = "INSERT INTO sales (id, public_id, name, starts_at, ends_at, buyer_limit, items)
                VALUES (2, 'S-2', 'late', now(), now() + interval '1 hour', 1, 1)";
    let refused = sqlx::query(late).execute(&shop.pool).await.unwrap_err();

    let constraint = refused.as_database_error().and_then(|error| error.constraint());
    assert_eq!(constraint, Some("sales_keep_archived"));
}

#[tokio::test]
async fn while_a_sale_is_created_no_partition_is_sealed() {
    let shop = PostgresShop::open().await;
    let old = old_sale(&shop).await;
    archive(&shop, &[old]).await;
    let mut creation = shop.pool.begin().await.unwrap();
    let new = "INSERT INTO sales (id, public_id, name, starts_at, ends_at, buyer_limit, items)
               VALUES (2, 'S-2', 'new', now(), now() + interval '1 hour', 1, 1)";
    sqlx::query(new).execute(&mut *creation).await.unwrap();

    assert!(retention(&shop).await.empty_partitions().await.is_err());
    creation.commit().await.unwrap();

    assert_eq!(retention(&shop).await.empty_partitions().await.unwrap(), []);
}

#[tokio::test]
async fn the_schedule_does_not_open_a_start_again_that_was_archived() {
    let shop = PostgresShop::open().await;
    let sales = shop.instance().await.sales;
    let window = SaleWindow::lasting(shop.now().await, DAY).unwrap();
    let new = NewSale { scheduled: true, ..a_new_sale(3, window) };
    let sale = sales.create(&new, "schedule").await.unwrap().unwrap().id;
    // An operator has ended it early.
    shop.execute("UPDATE sales SET ends_at = starts_at + interval '1 microsecond', closed_end = starts_at + interval '1 microsecond'").await;
    let keep = Duration::from_micros(1);
    assert_eq!(retention(&shop).await.archive(keep, &[sale], "ann").await.unwrap(), [sale]);

    assert_eq!(sales.create(&new, "schedule").await.unwrap(), None);
}

#[tokio::test]
async fn a_code_of_a_dropped_partition_leads_to_nothing_also_where_it_was_sold() {
    let shop = PostgresShop::open().await;
    let scene = Scene::open(&shop, Terms::stocked(5, 9)).await;
    let attempt = scene.attempt("ann", &[(1, 1)]).await;
    scene.decided(attempt).await;
    scene.settle(attempt).await;
    age(&shop, scene.sale).await;
    archive(&shop, &[scene.sale]).await;
    let retention = retention(&shop).await;
    retention.empty_partitions().await.unwrap();
    assert!(retention.drop_partition(FIRST).await.unwrap());

    for instance in [scene.instance.clone(), shop.instance().await] {
        assert_eq!(instance.ledger.outcome(scene.sale, attempt).await.unwrap(), None);
        let settle = settle_of(scene.sale, attempt);
        assert_eq!(instance.ledger.settle(settle).await.unwrap(), Settled::Unknown);
        assert!(instance.sales.is_archived(scene.sale).await.unwrap());
    }
}
