//! Reports of real sales, and every way in which the close of one can be disturbed.

#![cfg(test)]

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::{Postgres, Transaction};

use super::document;
use super::store::PostgresSaleReports;
use crate::application::ports::{SaleReportReader, SaleReportStore};
use crate::domain::ids::SaleId;
use crate::domain::sale::SaleWindow;
use crate::domain::sale_report::SaleReport;
use crate::testing::builders::{line, sale_id};
use crate::testing::contracts::refusal_store::{RefusalWorld, flush};
use crate::testing::contracts::{Scene, ShopWorld, Terms};
use crate::testing::servers::PostgresShop;

const AT_ONCE: Duration = Duration::ZERO;

async fn reports(shop: &PostgresShop) -> PostgresSaleReports {
    PostgresSaleReports::new(shop.database().await)
}

async fn report(shop: &PostgresShop, sale: SaleId) -> SaleReport {
    reports(shop).await.report(sale).await.unwrap().unwrap()
}

/// Two buyers have bought the three pieces of a sale, a third one came too late, and a fourth one's checkout is open.
async fn a_sold_out_sale(shop: &PostgresShop) -> Scene<'_> {
    let scene = Scene::open(shop, Terms::stocked(3, 1)).await;
    for (who, lines) in [("ann", &[(1, 1), (2, 1)][..]), ("bob", &[(3, 1)])] {
        let attempt = scene.attempt(who, lines).await;
        scene.decided(attempt).await;
    }
    let late = scene.extra_attempt("eve", &[line(1, 1)]).await;
    scene.decided(late).await;
    scene.extra_attempt("zoe", &[line(2, 1)]).await;
    scene
}

/// Closes what can be closed, and returns it.
async fn close(reports: &PostgresSaleReports) -> Vec<SaleId> {
    let mut closed = Vec::new();
    for ended in reports.ended(AT_ONCE).await.unwrap() {
        if ended.is_settled && reports.close(ended.sale).await.unwrap() {
            closed.push(ended.sale);
        }
    }
    closed
}

/// Closes until this sale is closed: transactions of other tests on the same server hold it up.
async fn close_patiently(reports: &PostgresSaleReports, sale: SaleId) {
    let closing = async {
        while !close(reports).await.contains(&sale) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(5), closing).await.expect("it is never closed");
}

async fn events(shop: &PostgresShop) -> Vec<(String, i64, Value)> {
    let sql =
        "SELECT batch::text, sale_id, data::text FROM outbox WHERE kind = 'sale.ended' ORDER BY id";
    let rows: Vec<(String, i64, String)> = sqlx::query_as(sql).fetch_all(&shop.pool).await.unwrap();
    let parsed =
        |(id, sale, data): (String, i64, String)| (id, sale, serde_json::from_str(&data).unwrap());
    rows.into_iter().map(parsed).collect()
}

async fn count(shop: &PostgresShop, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&shop.pool).await.unwrap()
}

/// A transaction that has sold a piece of item 1 and is not committed.
async fn an_uncommitted_purchase(
    shop: &PostgresShop,
    scene: &Scene<'_>,
) -> Transaction<'static, Postgres> {
    let attempt = scene.extra_attempt("slow", &[line(1, 1)]).await;
    let mut tx = shop.pool.begin().await.unwrap();
    let buyer = "UPDATE buyers SET bought = 1 WHERE sale_id = $1 AND user_id = 'slow'";
    sqlx::query(buyer).bind(scene.sale.get()).execute(&mut *tx).await.unwrap();
    let purchase =
        "INSERT INTO purchases VALUES ($1, $2, 'slow', clock_timestamp(), 1, 0, '{1}', '{1}', 's')";
    let purchase = sqlx::query(purchase).bind(scene.sale.get()).bind(attempt.get());
    purchase.execute(&mut *tx).await.unwrap();
    tx
}

#[tokio::test]
async fn a_report_counts_what_the_record_holds_of_its_sale_alone() {
    let shop = PostgresShop::open().await;
    let other = Scene::open(&shop, Terms::stocked(3, 3)).await;
    let attempt = other.attempt("ann", &[(1, 1)]).await;
    other.decided(attempt).await;
    let scene = a_sold_out_sale(&shop).await;
    let refusals = RefusalWorld::instance(&shop).await;
    refusals.append(&flush(scene.sale, 1, 7, 2)).await.unwrap();

    let report = report(&shop, scene.sale).await;

    assert_eq!((report.pieces, report.sold, report.buyers), (3, 3, 2));
    assert_eq!((report.checkouts, report.purchases, report.unsuccessful), (4, 2, 1));
    assert!(report.sold_out_at.is_some() && !report.is_final);
    let sums = |figure: fn(&crate::domain::sale_report::Interval) -> i64| -> i64 {
        report.intervals.iter().map(figure).sum()
    };
    assert_eq!((sums(|one| one.sold), sums(|one| one.checkouts)), (3, 4));
    let totals: i64 = shop.totals(scene.sale).await.iter().map(|total| total.total).sum();
    assert_eq!(report.refused(), totals);
}

#[tokio::test]
async fn of_an_unknown_sale_there_is_no_report() {
    let shop = PostgresShop::open().await;

    assert_eq!(reports(&shop).await.report(sale_id(77)).await.unwrap(), None);
}

#[tokio::test]
async fn in_a_long_sale_seconds_are_counted_by_wider_intervals_and_the_peak_by_seconds() {
    let shop = PostgresShop::open().await;
    let scene = Scene::open(&shop, Terms::stocked(9, 9)).await;
    let sql = "UPDATE sales SET starts_at = date_trunc('second', clock_timestamp()) - interval '20 hours',
                                ends_at = date_trunc('second', clock_timestamp()) + interval '4 hours'";
    shop.execute(sql).await;
    // Second 5; and of the minute that begins at second 1,860 the seconds 0, 10 and 10 again.
    let bought = [(1, 5.5, 1), (2, 1_860.2, 2), (3, 1_870.0, 2), (4, 1_870.9, 3)];
    for (attempt, second, pieces) in bought {
        let insert = "INSERT INTO purchases SELECT id, $1, 'ann', starts_at + make_interval(secs => $2), $3, 0, '{1}', ARRAY[$3::int], 's'
                      FROM sales";
        let query = sqlx::query(insert).bind(i64::from(attempt)).bind(second).bind(pieces);
        query.execute(&shop.pool).await.unwrap();
    }

    let report = report(&shop, scene.sale).await;

    let intervals: Vec<_> =
        report.intervals.iter().map(|one| (one.second, one.seconds, one.sold)).collect();
    assert_eq!(intervals, [(5, 1, 1), (1_860, 60, 7)]);
    let peak = report.peak.unwrap();
    assert_eq!((peak.second, peak.sold), (1_870, 5));
}

#[tokio::test]
async fn a_closed_sale_has_one_report_and_one_event_with_it() {
    let shop = PostgresShop::open().await;
    let scene = a_sold_out_sale(&shop).await;
    let reports = reports(&shop).await;
    assert_eq!(close(&reports).await, [], "it has not ended");
    scene.end().await;

    close_patiently(&reports, scene.sale).await;

    assert_eq!(close(&reports).await, []);
    assert!(!reports.close(scene.sale).await.unwrap());
    let report = report(&shop, scene.sale).await;
    assert!(report.is_final);
    assert_eq!(report.sold, 3);
    let events = events(&shop).await;
    assert_eq!((events.len(), events[0].1), (1, scene.sale.get()));
    assert_eq!(events[0].2, document::write(&report));
    assert_eq!(count(&shop, "SELECT count(*) FROM sale_closings").await, 0);
}

#[tokio::test]
async fn a_purchase_that_commits_after_the_end_is_in_the_report() {
    let shop = PostgresShop::open().await;
    let scene = Scene::open(&shop, Terms::stocked(1, 9)).await;
    let slow = an_uncommitted_purchase(&shop, &scene).await;
    scene.end().await;
    let reports = reports(&shop).await;

    for _ in 0..3 {
        assert_eq!(close(&reports).await, [], "a purchase is not committed yet");
    }
    assert!(!reports.close(scene.sale).await.unwrap());
    slow.commit().await.unwrap();
    close_patiently(&reports, scene.sale).await;

    let report = report(&shop, scene.sale).await;
    assert_eq!((report.sold, report.buyers, report.purchases), (1, 1, 1));
}

#[tokio::test]
async fn instances_that_close_at_once_close_once() {
    let shop = PostgresShop::open().await;
    let scene = a_sold_out_sale(&shop).await;
    scene.end().await;
    let instances = join_all((0..6).map(|_| reports(&shop))).await;
    let settled = async || instances[0].ended(AT_ONCE).await.unwrap();
    while !settled().await.iter().any(|ended| ended.is_settled) {}

    let closed = join_all(instances.iter().map(|one| one.close(scene.sale))).await;

    assert_eq!(closed.into_iter().filter(|closed| *closed.as_ref().unwrap()).count(), 1);
    assert_eq!(events(&shop).await.len(), 1);
}

#[tokio::test]
async fn without_its_event_there_is_no_report() {
    let shop = PostgresShop::open().await;
    let scene = a_sold_out_sale(&shop).await;
    scene.end().await;
    let reports = reports(&shop).await;
    shop.execute("ALTER TABLE outbox ADD CONSTRAINT not_now CHECK (sale_id = 0) NOT VALID").await;
    while !reports.ended(AT_ONCE).await.unwrap().iter().any(|ended| ended.is_settled) {}

    assert!(reports.close(scene.sale).await.is_err());

    assert_eq!(count(&shop, "SELECT count(*) FROM sale_reports").await, 0);
    shop.execute("ALTER TABLE outbox DROP CONSTRAINT not_now").await;
    close_patiently(&reports, scene.sale).await;
    assert_eq!(events(&shop).await.len(), 1);
}

#[tokio::test]
async fn a_sale_whose_end_is_moved_is_closed_again_under_another_event() {
    let shop = PostgresShop::open().await;
    let scene = Scene::open(&shop, Terms::stocked(1, 9)).await;
    scene.end().await;
    let reports = reports(&shop).await;
    close_patiently(&reports, scene.sale).await;
    let hour = chrono::Duration::hours(1);
    let longer = SaleWindow::new(shop.now().await - hour, shop.now().await + hour).unwrap();

    shop.move_window(scene.sale, longer).await;
    let attempt = scene.attempt("ann", &[(1, 2)]).await;
    scene.decided(attempt).await;
    assert_eq!(close(&reports).await, []);
    let meanwhile = report(&shop, scene.sale).await;
    scene.end().await;
    close_patiently(&reports, scene.sale).await;

    assert_eq!((meanwhile.is_final, meanwhile.sold), (false, 2));
    let last = report(&shop, scene.sale).await;
    assert_eq!((last.is_final, last.sold), (true, 2));
    let events = events(&shop).await;
    assert_eq!(events.len(), 2);
    assert_ne!(events[0].0, events[1].0);
    assert_eq!((&events[0].2["sold"], &events[1].2["sold"]), (&json!(0), &json!(2)));
}

#[tokio::test]
async fn a_sale_that_a_clock_put_back_has_opened_again_is_closed_again() {
    let shop = PostgresShop::open().await;
    let scene = Scene::open(&shop, Terms::stocked(1, 9)).await;
    let reports = reports(&shop).await;
    // It was closed at its end, and the end lies in the future again.
    shop.execute("UPDATE sales SET closed_end = ends_at").await;
    let report = document::write(&report(&shop, scene.sale).await);
    let stored = sqlx::query("INSERT INTO sale_reports (sale_id, report) VALUES ($1, $2::jsonb)");
    stored.bind(scene.sale.get()).bind(report.to_string()).execute(&shop.pool).await.unwrap();

    assert_eq!(close(&reports).await, []);
    let attempt = scene.attempt("ann", &[(1, 2)]).await;
    scene.decided(attempt).await;
    assert_eq!(self::report(&shop, scene.sale).await.sold, 2);
    let ends_at: DateTime<Utc> =
        sqlx::query_scalar("SELECT ends_at FROM sales").fetch_one(&shop.pool).await.unwrap();

    let to_close = "SELECT count(*) FROM sales WHERE closed_end IS DISTINCT FROM ends_at";
    assert_eq!(count(&shop, to_close).await, 1, "it will be closed at {ends_at}");
}

#[tokio::test]
async fn a_sale_that_was_noted_on_another_server_is_noted_again() {
    let shop = PostgresShop::open().await;
    let scene = Scene::open(&shop, Terms::stocked(1, 9)).await;
    scene.end().await;
    let noted = "INSERT INTO sale_closings (sale_id, ends_at, horizon)
                 SELECT id, ends_at, '9000000000000000000' FROM sales";
    shop.execute(noted).await;

    close_patiently(&reports(&shop).await, scene.sale).await;
}

#[tokio::test]
async fn a_report_outlives_the_sales_own_rows() {
    let shop = PostgresShop::open().await;
    let scene = a_sold_out_sale(&shop).await;
    scene.end().await;
    close_patiently(&reports(&shop).await, scene.sale).await;

    shop.execute("TRUNCATE purchases, checkout_attempts, buyers, item_stock; DELETE FROM sales")
        .await;

    assert_eq!(report(&shop, scene.sale).await.sold, 3);
}

#[tokio::test]
async fn what_looks_for_sales_to_close_reads_no_closed_ones() {
    let shop = PostgresShop::open().await;
    let many = "INSERT INTO sales (id, public_id, name, starts_at, ends_at, buyer_limit, items, closed_end)
                SELECT n, n::text, 'old', '2020-01-01Z', '2020-01-02Z', 1, 1, '2020-01-02Z'
                FROM generate_series(1000, 6000) AS n";
    shop.execute(many).await;
    let database = shop.database().await;
    let mut connection = database.acquire().await.unwrap();
    let plan = super::closing::plan_of_look(&mut connection).await;

    assert!(plan.contains("sales_to_close"), "{plan}");
    let read = plan.lines().filter(|line| line.contains("sales_to_close"));
    assert!(read.clone().all(|line| line.contains("rows=0")), "{plan}");
}
