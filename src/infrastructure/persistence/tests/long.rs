//! Batches are bounded by their lines, and long checkouts do not keep short ones waiting.

#![cfg(test)]

use futures_util::future::join_all;
use prometheus::Registry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::application::ports::{CheckoutStore, Collected, Edit, Ledger, Settled};
use crate::domain::checkout::Line;
use crate::domain::ids::AttemptId;
use crate::infrastructure::batching::{BatchLimits, BatchMetrics};
use crate::infrastructure::persistence::batch::context::BatchContext;
use crate::infrastructure::persistence::batch::lines::lines_each;
use crate::infrastructure::persistence::batch::session;
use crate::infrastructure::persistence::batch::transaction::{BatchMode, BatchTransaction, Served};
use crate::infrastructure::persistence::checkout::batch::CollectBatch;
use crate::infrastructure::persistence::checkout::store::PostgresCheckoutStore;
use crate::infrastructure::persistence::idempotency::request::MaybeKeyed;
use crate::infrastructure::persistence::purchase::batch::SettleBatch;
use crate::infrastructure::persistence::purchase::ledger::PostgresLedger;
use crate::testing::builders::{collect, line, settle_of};
use crate::testing::contracts::{Scene, Terms};
use crate::testing::servers::PostgresShop;

/// Requests that are in one batch.
const BATCH: usize = 32;
/// One line more than each of them may have.
const LONG: i32 = 257;
const SALE: Terms = Terms { items: LONG, stock: 1_000, buyer_limit: 1_000 };

fn lines(count: i32) -> Vec<Line> {
    (1..=count).map(|item| line(item, 1)).collect()
}

/// An attempt of each buyer; those of every second buyer are long.
async fn attempts(scene: &Scene<'_>) -> Vec<AttemptId> {
    let mut attempts = Vec::new();
    for number in 0..BATCH {
        let lines = lines(if is_long(number) { LONG } else { LONG - 1 });
        attempts.push(scene.extra_attempt(&format!("buyer-{number}"), &lines).await);
    }
    attempts
}

fn is_long(number: usize) -> bool {
    number.is_multiple_of(2)
}

fn ledger(context: BatchContext) -> PostgresLedger {
    let metrics = BatchMetrics::register(&Registry::new()).unwrap();
    let scope = (TaskTracker::new(), CancellationToken::new());
    PostgresLedger::new(context, limits(), PostgresShop::RETRIES, &metrics, scope)
}

fn limits() -> BatchLimits {
    BatchLimits { size: BATCH, ..PostgresShop::limits() }
}

#[test]
fn the_long_checkouts_of_these_tests_are_too_long_by_a_line() {
    assert_eq!(i32::try_from(lines_each(BATCH)), Ok(LONG - 1));
}

#[tokio::test]
async fn a_purchase_that_is_too_long_for_its_batch_is_left_out_and_the_others_are_decided() {
    let shop = PostgresShop::open().await;
    for mode in [BatchMode::Optimistic, BatchMode::Contended, BatchMode::Pessimistic] {
        let scene = Scene::open(&shop, SALE).await;
        let attempts = attempts(&scene).await;
        let context = BatchContext::new(shop.database().await);
        let mut connection = context.database.acquire().await.unwrap();
        let requests = attempts.iter().map(|attempt| settle_of(scene.sale, *attempt));
        let requests: Vec<_> = requests.map(MaybeKeyed::unkeyed).collect();

        let batch = SettleBatch::new(context);
        let served = batch.run(&mut connection, scene.sale, &requests, mode).await.unwrap();

        for (number, served) in served.iter().enumerate() {
            let is_served = matches!(served, Served::Reply(Some(Settled::Now(_))));
            assert_eq!(is_served, !is_long(number), "{mode:?} {number} {served:?}");
        }
        let short = i64::try_from(BATCH / 2).unwrap() * i64::from(LONG - 1);
        assert_eq!(scene.progress().await.sold, short, "{mode:?}");
    }
}

#[tokio::test]
async fn a_checkout_that_is_too_long_for_its_batch_is_left_out_and_the_others_are_collected() {
    let shop = PostgresShop::open().await;
    let scene = Scene::open(&shop, SALE).await;
    let context = BatchContext::new(shop.database().await);
    let batch = CollectBatch::new(context.clone());
    let names: Vec<String> = (0..BATCH).map(|number| format!("buyer-{number}")).collect();
    for (number, name) in names.iter().enumerate().filter(|(number, _)| is_long(*number)) {
        let mut request = collect(scene.sale, name, 1, 1);
        request.edit = Edit::Set(lines(LONG - 1));
        let requests = [MaybeKeyed::unkeyed(request)];
        let served = session::run(&context, &batch, scene.sale, &requests).await.unwrap();
        assert!(matches!(served[0], Served::Reply(Some(Collected::Added { .. }))), "{number}");
    }

    let requests = names.iter().map(|name| collect(scene.sale, name, LONG, 1));
    let requests: Vec<_> = requests.map(MaybeKeyed::unkeyed).collect();
    let served = session::run(&context, &batch, scene.sale, &requests).await.unwrap();

    for (number, served) in served.iter().enumerate() {
        let is_served = matches!(served, Served::Reply(Some(Collected::Added { .. })));
        assert_eq!(is_served, !is_long(number), "{number} {served:?}");
    }
}

#[tokio::test]
async fn long_and_short_checkouts_are_bought_and_no_statement_writes_too_many_lines() {
    let shop = PostgresShop::open().await;
    let scene = Scene::open(&shop, SALE).await;
    let attempts = attempts(&scene).await;
    shop.execute(
        "CREATE TABLE written (lines bigint);
         CREATE FUNCTION count_lines() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             INSERT INTO written SELECT sum(cardinality(item_nos)) FROM outcomes;
             RETURN NULL;
         END $$;
         CREATE TRIGGER written AFTER INSERT ON purchases_from_0
         REFERENCING NEW TABLE AS outcomes FOR EACH STATEMENT EXECUTE FUNCTION count_lines()",
    )
    .await;
    let ledger = ledger(BatchContext::new(shop.database().await));

    let settling = attempts.iter().map(|attempt| ledger.settle(settle_of(scene.sale, *attempt)));
    let settled = join_all(settling).await;

    assert!(settled.iter().all(|settled| matches!(settled, Ok(Settled::Now(_)))), "{settled:?}");
    let most: i64 =
        sqlx::query_scalar("SELECT max(lines) FROM written").fetch_one(&shop.pool).await.unwrap();
    assert!(most <= i64::try_from(lines_each(1)).unwrap(), "{most} lines in one statement");
}

#[tokio::test]
async fn long_checkouts_are_collected_in_batches_of_their_own() {
    let shop = PostgresShop::open().await;
    let scene = Scene::open(&shop, SALE).await;
    let metrics = BatchMetrics::register(&Registry::new()).unwrap();
    let scope = (TaskTracker::new(), CancellationToken::new());
    let context = BatchContext::new(shop.database().await);
    let store =
        PostgresCheckoutStore::new(context, limits(), PostgresShop::RETRIES, &metrics, scope);
    let requests = (0..3 * BATCH).map(|number| {
        let mut request = collect(scene.sale, &format!("buyer-{number}"), 1, 1);
        request.edit = Edit::Set(lines(if is_long(number) { LONG } else { 1 }));
        request
    });

    let collected = join_all(requests.map(|request| store.collect(request))).await;

    for (number, collected) in collected.iter().enumerate() {
        let Ok(Collected::Added { totals, .. }) = collected else { panic!("{collected:?}") };
        let expected = if is_long(number) { LONG } else { 1 };
        assert_eq!(i32::try_from(totals.lines.len()), Ok(expected));
    }
}

#[tokio::test]
async fn a_batch_that_is_too_slow_is_split_until_it_is_fast_enough() {
    let shop = PostgresShop::open().await;
    let scene = Scene::open(&shop, SALE).await;
    let mut attempts = Vec::new();
    for number in 0..8 {
        attempts.push(scene.extra_attempt(&format!("buyer-{number}"), &lines(LONG)).await);
    }
    // As PostgreSQL cancels a statement that takes too long.
    shop.execute(
        "CREATE FUNCTION cancel_long() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF (SELECT sum(cardinality(item_nos)) FROM outcomes) > 600 THEN
                 RAISE EXCEPTION 'too slow' USING ERRCODE = 'query_canceled';
             END IF;
             RETURN NULL;
         END $$;
         CREATE TRIGGER cancel_long AFTER INSERT ON purchases_from_0
         REFERENCING NEW TABLE AS outcomes FOR EACH STATEMENT EXECUTE FUNCTION cancel_long()",
    )
    .await;
    let ledger = ledger(BatchContext::new(shop.database().await));

    let settling = attempts.iter().map(|attempt| ledger.settle(settle_of(scene.sale, *attempt)));
    let settled = join_all(settling).await;

    assert!(settled.iter().all(|settled| matches!(settled, Ok(Settled::Now(_)))), "{settled:?}");
}
