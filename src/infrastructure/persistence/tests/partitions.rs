//! No request touches the partitions of other sales: through a parent a statement would open and lock all of them, so that its cost
//! would grow with every hundred sales of the past.

#![cfg(test)]

use std::time::Duration;

use sqlx::AssertSqlSafe;

use crate::application::ports::{Caller, Cursor, Keyed, PageRequest, SaleFilter, Settled};
use crate::domain::ids::{ItemNo, SaleId};
use crate::infrastructure::persistence::batch::context::BatchContext;
use crate::infrastructure::persistence::batch::transaction::{BatchMode, BatchTransaction};
use crate::infrastructure::persistence::checkout::batch::CollectBatch;
use crate::infrastructure::persistence::idempotency::request::MaybeKeyed;
use crate::infrastructure::persistence::purchase::batch::SettleBatch;
use crate::testing::builders::{attempt_id, buyer, collect, item_id, keyed_request, settle_of};
use crate::testing::contracts::refusal_store::{RefusalWorld, flush};
use crate::testing::contracts::{Instance, Scene, Terms};
use crate::testing::servers::PostgresShop;

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
/// No statement waits for a lock for as long as this, unless it touches what it should not.
const LOCK_TIMEOUT: Duration = Duration::from_millis(200);
const PAGE: PageRequest = PageRequest { page: 1, limit: 10 };

/// Every read of a request.
async fn read_all(instance: &Instance, sale: SaleId) {
    let Instance { items, history, sales, .. } = instance;
    let (ann, one) = (&buyer("ann"), Some(sale));
    sales.find(sale).await.unwrap();
    sales.find_all(&[sale]).await.unwrap();
    sales.live().await.unwrap();
    sales.list(SaleFilter::default(), Cursor::beginning(10)).await.unwrap();
    items.catalogue(sale).await.unwrap();
    items.by_number(sale, &[ItemNo(1)]).await.unwrap();
    items.by_id(sale, &[item_id("1")]).await.unwrap();
    for available in [true, false] {
        items.page(sale, available, PAGE).await.unwrap();
    }
    items.list(sale, true, Cursor::beginning(10)).await.unwrap();
    items.progress(&[sale]).await.unwrap();
    items.sold_out_among(sale, &[ItemNo(1)]).await.unwrap();
    items.stock(sale).await.unwrap();
    for sale in [one, None] {
        assert_eq!(history.of_buyer(ann, sale, PAGE).await.unwrap().total, 2);
        let listed = history.list(ann, sale, Cursor::beginning(10)).await.unwrap();
        assert_eq!(listed.entries.len(), 2);
    }
}

/// Checkouts and purchases with and without keys, their repeats, and reads by code.
async fn trade(scene: &Scene<'_>) {
    let (sale, Instance { checkouts, ledger, keys, .. }) = (scene.sale, &scene.instance);
    let first = scene.attempt("ann", &[(1, 1)]).await;
    scene.decided(first).await;
    assert!(matches!(scene.settle(first).await, Settled::Before(_)));
    let (key, caller) = (keyed_request("k", "1"), Caller::Buyer(buyer("ann"), None));
    for _ in 0..2 {
        checkouts.collect_keyed(collect(sale, "ann", 2, 1), key.clone()).await.unwrap();
    }
    assert!(matches!(keys.find(caller, key).await.unwrap(), Keyed::Replayed(_)));
    let second = scene.attempt("ann", &[(3, 1)]).await;
    let (key, caller) = (keyed_request("b", "buy"), Caller::HolderOf(sale, second));
    for _ in 0..2 {
        ledger.settle_keyed(settle_of(sale, second), key.clone()).await.unwrap();
    }
    assert!(matches!(keys.find(caller, key).await.unwrap(), Keyed::Replayed(_)));
    assert!(ledger.outcome(sale, second).await.unwrap().is_some());
    assert!(checkouts.find(sale, second).await.unwrap().unwrap().purchased);
}

/// Batches of both kinds in every mode, each on what the one before has written.
async fn trade_in_every_mode(shop: &PostgresShop, sale: SaleId) {
    let context = BatchContext::new(shop.database().await);
    let (collecting, settling) =
        (CollectBatch::new(context.clone()), SettleBatch::new(context.clone()));
    let mut connection = context.database.acquire().await.unwrap();
    for mode in [BatchMode::Optimistic, BatchMode::Contended, BatchMode::Pessimistic] {
        let who = format!("{mode:?}");
        let requests = [MaybeKeyed::unkeyed(collect(sale, &who, 4, 1))];
        collecting.run(&mut connection, sale, &requests, mode).await.unwrap();
        let open = "SELECT open_attempt FROM buyers_from_0 WHERE user_id = $1 AND sale_id = $2";
        let open = sqlx::query_scalar(open).bind(&who).bind(sale.get());
        let open: i64 = open.fetch_one(&shop.pool).await.unwrap();
        let settle = settle_of(sale, attempt_id(open));
        for _ in 0..2 {
            let requests = [MaybeKeyed::unkeyed(settle.clone())];
            settling.run(&mut connection, sale, &requests, mode).await.unwrap();
        }
    }
}

#[tokio::test]
async fn no_request_touches_the_partitions_of_other_sales() {
    let shop = PostgresShop::with_lock_timeout(LOCK_TIMEOUT).await;
    // The first sale makes the partitions of the sales from 100 on, too.
    Scene::open(&shop, Terms::stocked(5, 9)).await;
    let mut holder = shop.pool.begin().await.unwrap();
    for table in TABLES {
        let lock = format!("LOCK TABLE {table}_from_100 IN ACCESS EXCLUSIVE MODE");
        sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut *holder).await.unwrap();
    }

    let scene = Scene::open(&shop, Terms::stocked(5, 9)).await;
    trade(&scene).await;
    read_all(&scene.instance, scene.sale).await;
    let refusals = RefusalWorld::instance(&shop).await;
    refusals.append(&flush(scene.sale, 1, 3, 2)).await.unwrap();

    holder.rollback().await.unwrap();
}

#[tokio::test]
async fn no_mode_of_a_batch_touches_the_partitions_of_other_sales() {
    let shop = PostgresShop::with_lock_timeout(LOCK_TIMEOUT).await;
    let scene = Scene::open(&shop, Terms::stocked(5, 9)).await;
    let mut holder = shop.pool.begin().await.unwrap();
    for table in TABLES {
        let lock = format!("LOCK TABLE {table}_from_100 IN ACCESS EXCLUSIVE MODE");
        sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut *holder).await.unwrap();
    }

    trade_in_every_mode(&shop, scene.sale).await;

    holder.rollback().await.unwrap();
}

#[tokio::test]
async fn a_partition_that_was_detached_is_not_read_any_more() {
    let shop = PostgresShop::open().await;
    let scene = Scene::open(&shop, Terms::stocked(5, 9)).await;
    let attempt = scene.attempt("ann", &[(1, 1)]).await;
    scene.decided(attempt).await;
    // The tables stay, under their names.
    for table in TABLES {
        shop.execute(&format!("ALTER TABLE {table} DETACH PARTITION {table}_from_0")).await;
    }

    let later = scene.at_another_instance().await;

    assert_eq!(later.instance.ledger.outcome(scene.sale, attempt).await.unwrap(), None);
    assert_eq!(later.settle(attempt).await, Settled::Unknown);
}

#[tokio::test]
async fn reads_go_on_when_the_partition_is_dropped_under_them() {
    let shop = PostgresShop::open().await;
    let scene = Scene::open(&shop, Terms::stocked(5, 9)).await;
    let attempt = scene.attempt("ann", &[(1, 1)]).await;
    scene.decided(attempt).await;
    let Instance { ledger, items, .. } = &scene.instance;
    assert!(ledger.outcome(scene.sale, attempt).await.unwrap().is_some());
    items.stock(scene.sale).await.unwrap();
    for table in TABLES {
        shop.execute(&format!("DROP TABLE {table}_from_0")).await;
    }

    assert_eq!(ledger.outcome(scene.sale, attempt).await.unwrap(), None);
    assert_eq!(items.stock(scene.sale).await.unwrap().facts.sold_out, []);
}
