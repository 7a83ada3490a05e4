//! What a cancellation changes elsewhere: the event that it writes, and the report of a sale that is closed.

#![cfg(test)]

use std::time::Duration;

use crate::application::ports::{
    CodeSigner, Outbox, OutboxContent, PurchaseCanceller, SaleReportReader, SaleReportStore,
};
use crate::domain::cancellation::Wanted;
use crate::domain::code::CodeClaim;
use crate::domain::ids::{AttemptId, SaleId};
use crate::infrastructure::persistence::operators::canceller::PostgresPurchaseCanceller;
use crate::infrastructure::persistence::outbox::store::PostgresOutbox;
use crate::infrastructure::persistence::report::store::PostgresSaleReports;
use crate::testing::builders::{item_id, line};
use crate::testing::contracts::{Scene, Terms};
use crate::testing::fakes::FakeSigner;
use crate::testing::servers::PostgresShop;

fn code(scene: &Scene<'_>, attempt: AttemptId) -> CodeClaim {
    FakeSigner { key: 1 }.sign(scene.sale, attempt)
}

async fn canceller(shop: &PostgresShop) -> PostgresPurchaseCanceller {
    PostgresPurchaseCanceller::new(shop.database().await)
}

/// Closes the sale: transactions of other tests on the same server hold it up.
async fn closed(reports: &PostgresSaleReports, sale: SaleId) {
    let closing = async {
        loop {
            reports.ended(Duration::ZERO).await.unwrap();
            if reports.close(sale).await.unwrap() {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(5), closing).await.expect("it is never closed");
}

#[tokio::test]
async fn a_cancellation_is_an_event_behind_that_of_its_purchase() {
    let shop = PostgresShop::open().await;
    let scene = Scene::open(&shop, Terms::stocked(2, 5)).await;
    let attempt = scene.attempt("ann", &[(1, 2), (2, 1)]).await;
    scene.decided(attempt).await;
    let canceller = canceller(&shop).await;
    let wanted = Wanted::Items(vec![item_id("2")]);
    let taken = canceller.cancel(code(&scene, attempt), &wanted, "eve").await;
    let outbox = PostgresOutbox::new(shop.database().await);
    outbox.order().await.unwrap();

    let log = outbox.read(0, 10).await.unwrap();

    assert!(matches!(log[0].content, OutboxContent::Settled(..)));
    let OutboxContent::Cancelled(event) = &log[1].content else { panic!("{log:?}") };
    assert_eq!((event.attempt, event.buyer.as_str(), event.pieces_left), (attempt, "ann", 2));
    assert_eq!(event.lines, [line(2, 1)]);
    // PostgreSQL's clock has microseconds.
    assert_eq!(event.cancelled_at, taken.unwrap().unwrap().cancelled_at);
    assert_eq!(log.len(), 2);
}

#[tokio::test]
async fn a_closed_sales_report_says_what_was_taken_back() {
    let shop = PostgresShop::open().await;
    let scene = Scene::open(&shop, Terms::unique(1)).await;
    let attempt = scene.attempt("ann", &[(1, 1)]).await;
    scene.decided(attempt).await;
    scene.end().await;
    let reports = PostgresSaleReports::new(shop.database().await);
    closed(&reports, scene.sale).await;
    let report = async || reports.report(scene.sale).await.unwrap().unwrap();
    let before = report().await;

    let canceller = canceller(&shop).await;
    canceller.cancel(code(&scene, attempt), &Wanted::All, "eve").await.unwrap().unwrap();

    let after = report().await;
    assert!(before.is_final && before.sold_out_at.is_some() && after.is_final);
    assert_eq!((before.sold, before.cancelled, before.buyers), (1, 0, 1));
    assert_eq!((after.sold, after.cancelled, after.buyers), (0, 1, 0));
    assert_eq!((after.sold_out_at, after.intervals), (None, before.intervals));
}
