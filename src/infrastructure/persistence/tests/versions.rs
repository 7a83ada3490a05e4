//! Tests that buyers' rows have versions that only grow, whatever PostgreSQL's clock does, and that every reply names the version that
//! was written.

#![cfg(test)]

use crate::application::ports::{Collected, Settled};
use crate::domain::ids::AttemptId;
use crate::infrastructure::persistence::batch::context::BatchContext;
use crate::infrastructure::persistence::batch::session;
use crate::infrastructure::persistence::batch::transaction::{BatchMode, BatchTransaction, Served};
use crate::infrastructure::persistence::checkout::batch::CollectBatch;
use crate::infrastructure::persistence::idempotency::request::MaybeKeyed;
use crate::infrastructure::persistence::pool::error::ErrorClass;
use crate::infrastructure::persistence::purchase::batch::SettleBatch;
use crate::testing::builders::{collect, settle_of};
use crate::testing::contracts::{Scene, Terms};
use crate::testing::servers::PostgresShop;

/// What remains of a clock that was an hour ahead: a version in the future. Returns it.
async fn an_hour_ahead(shop: &PostgresShop) -> i64 {
    shop.execute("UPDATE buyers SET version = version + 3600000000 WHERE user_id = 'ann'").await;
    written(shop).await
}

/// The version of ann's row.
async fn written(shop: &PostgresShop) -> i64 {
    let sql = "SELECT version FROM buyers WHERE user_id = 'ann'";
    sqlx::query_scalar(sql).fetch_one(&shop.pool).await.unwrap()
}

/// Collects a piece of the item for ann, at this instance.
async fn collected(here: &BatchContext, scene: &Scene<'_>, item: i32) -> AttemptId {
    let requests = [MaybeKeyed::unkeyed(collect(scene.sale, "ann", item, 1))];
    let batch = CollectBatch::new(here.clone());
    let served = session::run(here, &batch, scene.sale, &requests).await.unwrap();
    let Served::Reply(Some(Collected::Added { attempt, .. })) = served[0] else {
        panic!("{served:?}")
    };
    attempt
}

/// Runs a batch with one purchase, on a new instance. Returns the version in its reply.
async fn settled_version(shop: &PostgresShop, scene: &Scene<'_>, mode: BatchMode) -> i64 {
    let sql = "SELECT open_attempt FROM buyers WHERE user_id = 'ann'";
    let attempt: i64 = sqlx::query_scalar(sql).fetch_one(&shop.pool).await.unwrap();
    let attempt = AttemptId::new(attempt).unwrap();
    let context = BatchContext::new(shop.database().await);
    let mut connection = context.database.acquire().await.unwrap();
    let batch = SettleBatch::new(context);
    let requests = [MaybeKeyed::unkeyed(settle_of(scene.sale, attempt))];
    let replies = batch.run(&mut connection, scene.sale, &requests, mode).await.unwrap();
    let Served::Reply(Some(Settled::Now(decision))) = &replies[0] else { panic!("{replies:?}") };
    decision.version
}

#[tokio::test]
async fn a_reply_names_the_version_that_was_written() {
    let shop = PostgresShop::open().await;
    let scene = Scene::open(&shop, Terms::stocked(3, 90)).await;

    let first = scene.added("ann", 1, 1).await.version;
    assert_eq!(first, written(&shop).await, "the first checkout of a new buyer");
    let there = scene.at_another_instance().await;
    let added = there.added("ann", 2, 1).await;
    assert_eq!(added.version, written(&shop).await, "a later checkout");
    let decided = there.decided(added.attempt).await.version;
    assert_eq!(decided, written(&shop).await, "the purchase of what is remembered");
    assert!(first < added.version && added.version < decided);
}

#[tokio::test]
async fn after_the_clock_was_set_back_every_write_still_leaves_a_greater_version() {
    let shop = PostgresShop::open().await;
    let scene = Scene::open(&shop, Terms::stocked(3, 90)).await;
    scene.added("ann", 1, 1).await;
    let there = scene.at_another_instance().await;

    let ahead = an_hour_ahead(&shop).await;
    let added = there.added("ann", 2, 1).await;
    assert_eq!((added.version, written(&shop).await), (ahead + 1, ahead + 1), "a checkout");
    let decided = there.decided(added.attempt).await;
    assert_eq!(
        (decided.version, written(&shop).await),
        (ahead + 2, ahead + 2),
        "what is remembered"
    );
    for mode in [BatchMode::Optimistic, BatchMode::Contended, BatchMode::Pessimistic] {
        there.added("ann", 3, 1).await;
        let before = an_hour_ahead(&shop).await;
        let version = settled_version(&shop, &scene, mode).await;
        assert_eq!((version, written(&shop).await), (before + 1, before + 1), "{mode:?}");
    }
}

#[tokio::test]
async fn a_decision_on_an_older_version_is_not_written_after_the_clock_was_set_back() {
    let shop = PostgresShop::open().await;
    let scene = Scene::open(&shop, Terms::stocked(3, 90)).await;
    let here = BatchContext::new(shop.database().await);
    scene.added("ann", 1, 1).await;
    an_hour_ahead(&shop).await;
    // Remembered here, with a version in the future.
    let remembered = collected(&here, &scene, 2).await;
    scene.at_another_instance().await.added("ann", 3, 1).await;

    let batch = SettleBatch::new(here.clone());
    let mut connection = here.database.acquire().await.unwrap();
    let requests = [MaybeKeyed::unkeyed(settle_of(scene.sale, remembered))];
    let mut settle =
        async || batch.run(&mut connection, scene.sale, &requests, BatchMode::Optimistic).await;

    assert_eq!(settle().await.unwrap_err().class(), ErrorClass::Transient);
    let replies = settle().await.unwrap();
    let Served::Reply(Some(Settled::Now(decision))) = &replies[0] else { panic!("{replies:?}") };
    assert_eq!(decision.outcome.lines.len(), 3);
}
