//! Lanes of many sales share the pool: no writer keeps a connection that another one could use.

#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{FutureExt, join_all, poll_immediate};
use prometheus::Registry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::application::ports::{CheckoutStore, Collected, PortError};
use crate::domain::ids::SaleId;
use crate::infrastructure::batching::{BatchLimits, BatchMetrics};
use crate::infrastructure::persistence::batch::context::BatchContext;
use crate::infrastructure::persistence::checkout::store::PostgresCheckoutStore;
use crate::infrastructure::persistence::pool::database::Database;
use crate::testing::builders::collect;
use crate::testing::contracts::{Scene, Terms};
use crate::testing::servers::PostgresShop;

/// Checkouts over this pool. Everything waits as long as it has to, but for what `wait_limit` says.
fn store(database: Database, wait_limit: Duration) -> Arc<PostgresCheckoutStore> {
    let metrics = BatchMetrics::register(&Registry::new()).unwrap();
    let scope = (TaskTracker::new(), CancellationToken::new());
    let limits = BatchLimits { wait_limit, ..PostgresShop::limits() };
    let context = BatchContext::new(database);
    let retries = PostgresShop::RETRIES;
    Arc::new(PostgresCheckoutStore::new(context, limits, retries, &metrics, scope))
}

async fn sales(shop: &PostgresShop, count: usize) -> Vec<SaleId> {
    let mut sales = Vec::new();
    for _ in 0..count {
        sales.push(Scene::open(shop, Terms::stocked(1, 100)).await.sale);
    }
    sales
}

async fn until_waiting(database: &Database, callers: usize) {
    while database.pool().waiting() < callers {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_writer_leaves_its_connection_to_whichever_caller_comes_next() {
    let shop = PostgresShop::open().await;
    let sales = sales(&shop, 2).await;
    let database = shop.single_connection_database().await;
    let store = store(database.clone(), PostgresShop::limits().wait_limit);

    for sale in sales {
        let collected = store.collect(collect(sale, "ann", 1, 1)).await;

        assert!(matches!(collected, Ok(Collected::Added { .. })), "{collected:?}");
        // At once: the connection did not have to be returned, which takes round trips, or be given up by an idle writer.
        let next = poll_immediate(Box::pin(database.acquire())).await;
        database.keep(next.expect("a writer kept its connection").unwrap());
    }
}

#[tokio::test]
async fn a_statement_that_waits_gets_its_turn_between_two_batches() {
    let shop = PostgresShop::open().await;
    let sales = sales(&shop, 3).await;
    let database = shop.single_connection_database().await;
    let store = store(database.clone(), PostgresShop::limits().wait_limit);
    let held = database.acquire().await.unwrap();
    let batch = |sale| {
        let store = Arc::clone(&store);
        async move { store.collect(collect(sale, "ann", 1, 1)).await }
    };
    let read = sqlx::query_scalar::<_, i32>("SELECT 1").fetch_one(database.pool());

    let (first, read, rest, ()) = tokio::join!(
        batch(sales[0]),
        read,
        join_all(sales[1..].iter().map(|sale| batch(*sale))),
        async {
            until_waiting(&database, 4).await;
            database.keep(held);
        }
    );

    assert_eq!((first.is_ok(), read.unwrap()), (true, 1));
    assert!(rest.iter().all(Result::is_ok), "{rest:?}");
}

#[tokio::test]
async fn a_request_that_would_wait_too_long_for_a_connection_is_refused_at_once() {
    let shop = PostgresShop::open().await;
    let sales = sales(&shop, 3).await;
    let database = shop.single_connection_database().await;
    // Any measured wait is longer.
    let store = store(database.clone(), Duration::from_nanos(1));
    let wait_behind = async |sale| {
        let held = database.acquire().await.unwrap();
        let waiting = store.collect(collect(sale, "ann", 1, 1));
        let (collected, refused) = tokio::join!(waiting, async {
            until_waiting(&database, 1).await;
            let refused = store.collect(collect(sales[2], "bob", 1, 1)).now_or_never();
            database.keep(held);
            refused
        });
        assert!(collected.is_ok(), "{collected:?}");
        refused
    };

    // Nothing is measured yet: the first wait takes as long as it takes.
    let first = wait_behind(sales[0]).await;
    let second = wait_behind(sales[1]).await;

    assert!(first.is_none(), "{first:?}");
    assert!(matches!(second, Some(Err(PortError::Overloaded(_)))), "{second:?}");
}
