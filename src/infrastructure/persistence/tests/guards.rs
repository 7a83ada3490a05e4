//! Tests of each guard of the writing statements alone. Guards stand behind each other, so what one of them lets through the
//! next one stops, and from outside nothing is to be seen. Here the statement is handed what no decision would contain, and
//! has to fail with `serialization_failure`, which is `hold_batch` counting rows; a CHECK that stops it says another code.

#![cfg(test)]

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::application::ports::{Collected, Effect, Settled};
use crate::domain::ids::{AttemptId, SaleId};
use crate::infrastructure::persistence::batch::ctid::Place;
use crate::infrastructure::persistence::batch::partitions::of_partition;
use crate::infrastructure::persistence::batch::session::Session;
use crate::infrastructure::persistence::batch::splitting::{BatchTransaction, Mode};
use crate::infrastructure::persistence::checkout::batch::CollectBatch;
use crate::infrastructure::persistence::checkout::sql as checkout_sql;
use crate::infrastructure::persistence::idempotency::rows::{self, KeyRow};
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::ErrorClass;
use crate::infrastructure::persistence::purchase::batch::SettleBatch;
use crate::infrastructure::persistence::purchase::sql as purchase_sql;
use crate::testing::builders::{attempt_id, buyer, collect, key_use, sale_id, settle_of};
use crate::testing::contracts::{Scene, Terms};
use crate::testing::servers::PostgresShop;

/// `serialization_failure`
const LOST: &str = "40001";
const PATIENT: Duration = Duration::from_secs(20);
/// Pieces of an item, and of what a buyer may have.
const STOCK: i32 = 50;
const LIMIT: i32 = 10;

/// What a writing statement is handed: ann's purchase of some pieces of item 1.
#[derive(Debug, Clone, Copy)]
struct Handed {
    sale: SaleId,
    attempt: i64,
    place: Place,
    version: i64,
    item_place: Place,
    pieces: i32,
    generation: i64,
    now: DateTime<Utc>,
}

/// The SQLSTATE, with the constraint if one was broken.
type Refusal = (String, Option<String>);

async fn world() -> PostgresShop {
    PostgresShop::with_lock_timeout(PATIENT).await
}

async fn scene(shop: &PostgresShop) -> Scene<'_> {
    Scene::open(shop, Terms { items: 2, stock: STOCK, buyer_limit: LIMIT }).await
}

/// One piece, as the rows are now.
async fn handed(shop: &PostgresShop, scene: &Scene<'_>) -> Handed {
    let attempt = scene.attempt("ann", &[(1, 1)]).await.get();
    let sql = "SELECT b.ctid, b.version, i.ctid, s.generation, clock_timestamp()
               FROM buyers AS b, item_stock AS i, sales AS s WHERE b.user_id = 'ann' AND i.item_no = 1";
    let (place, version, item_place, generation, now) =
        sqlx::query_as(sql).fetch_one(&shop.pool).await.unwrap();
    Handed { sale: scene.sale, attempt, place, version, item_place, pieces: 1, generation, now }
}

/// Each statement that writes purchases.
const WRITES: [usize; 3] =
    [purchase_sql::WRITE_AT, purchase_sql::WRITE_AMONG_AT, purchase_sql::WRITE_UNREAD_AT];

/// What a statement says to what it is handed. Nothing is kept of it.
async fn says(shop: &PostgresShop, statement: usize, handed: Handed) -> Result<(), Refusal> {
    let mut tried = shop.pool.begin().await.unwrap();
    let text = of_partition(purchase_sql::STATEMENTS[statement], "");
    let query = sqlx::query(AssertSqlSafe(text))
        .bind(handed.sale.get())
        .bind([handed.place])
        .bind(["ann"])
        .bind([handed.version])
        .bind([handed.pieces])
        .bind([handed.attempt])
        .bind([handed.item_place])
        .bind([1])
        .bind([handed.pieces]);
    let query = if statement == purchase_sql::WRITE_UNREAD_AT {
        query.bind(handed.generation)
    } else {
        query.bind(handed.now)
    };
    let query = query
        .bind([handed.attempt])
        .bind(["ann"])
        .bind([handed.pieces])
        .bind([0])
        .bind([handed.attempt])
        .bind([1])
        .bind([handed.pieces])
        .bind(["sold"]);
    told(tried.execute(query).await)
}

fn told<T>(result: sqlx::Result<T>) -> Result<(), Refusal> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => {
            let error = error.into_database_error().expect("the server says it");
            Err((error.code().unwrap().into_owned(), error.constraint().map(str::to_owned)))
        }
    }
}

/// Fails unless each of the statements lets what is right pass, and none of them what was made wrong.
async fn no_statement_writes(spoil: impl Fn(Handed) -> Handed) {
    let shop = world().await;
    let scene = scene(&shop).await;
    let right = handed(&shop, &scene).await;
    for statement in WRITES {
        assert_eq!(says(&shop, statement, right).await, Ok(()), "statement {statement}");
        let wrong = says(&shop, statement, spoil(right)).await;
        assert_eq!(wrong, Err((LOST.to_owned(), None)), "statement {statement}");
    }
}

#[tokio::test]
async fn a_buyer_whose_row_has_another_version_is_not_who_was_decided_on() {
    no_statement_writes(|right| Handed { version: right.version - 1, ..right }).await;
}

#[tokio::test]
async fn more_than_the_buyers_limit_is_not_written() {
    no_statement_writes(|right| Handed { pieces: LIMIT + 1, ..right }).await;
}

#[tokio::test]
async fn more_than_is_left_of_an_item_is_not_written() {
    let shop = world().await;
    let scene = scene(&shop).await;
    shop.execute("UPDATE item_stock SET sold = stock - 2").await;
    let right = Handed { pieces: 2, ..handed(&shop, &scene).await };
    for statement in WRITES {
        assert_eq!(says(&shop, statement, right).await, Ok(()), "statement {statement}");
        let wrong = says(&shop, statement, Handed { pieces: 3, ..right }).await;
        assert_eq!(wrong, Err((LOST.to_owned(), None)), "statement {statement}");
    }
}

#[tokio::test]
async fn an_item_that_lies_elsewhere_by_now_fails_the_whole_purchase() {
    let shop = world().await;
    let scene = scene(&shop).await;
    let read = handed(&shop, &scene).await;
    shop.execute("UPDATE item_stock SET sold = sold + 1").await;

    let said = says(&shop, purchase_sql::WRITE_AT, read).await;

    assert_eq!(said, Err((LOST.to_owned(), None)));
    assert_eq!(says(&shop, purchase_sql::WRITE_AMONG_AT, read).await, Ok(()));
}

#[tokio::test]
async fn what_was_seen_in_another_generation_decides_nothing() {
    let shop = world().await;
    let scene = scene(&shop).await;
    let right = handed(&shop, &scene).await;
    let old = Handed { generation: right.generation - 1, ..right };

    let said = says(&shop, purchase_sql::WRITE_UNREAD_AT, old).await;

    assert_eq!(said, Err((LOST.to_owned(), None)));
}

#[tokio::test]
async fn after_the_end_no_statement_writes() {
    let shop = world().await;
    let scene = scene(&shop).await;
    let right = handed(&shop, &scene).await;
    // The generation stays as it was read.
    shop.execute("UPDATE sales SET ends_at = now() - interval '1 millisecond'").await;

    for statement in WRITES {
        let said = says(&shop, statement, right).await;
        assert_eq!(said, Err((LOST.to_owned(), None)), "statement {statement}");
    }
}

#[tokio::test]
async fn a_checkout_of_a_buyer_whose_row_has_another_version_is_not_written() {
    let shop = world().await;
    let scene = scene(&shop).await;
    let right = handed(&shop, &scene).await;
    let text = of_partition(checkout_sql::STATEMENTS[checkout_sql::WRITE_AT], "");
    let (none, nobody): (&[i64], &[&str]) = (&[], &[]);
    let collects = async |version: i64| {
        let query = sqlx::query(AssertSqlSafe(text.clone()))
            .bind(right.sale.get())
            .bind(LIMIT)
            .bind([right.place])
            .bind(["ann"])
            .bind([version])
            .bind([right.attempt])
            .bind(nobody)
            .bind(none)
            .bind(right.now)
            .bind(none)
            .bind(nobody)
            .bind(none)
            .bind([0; 0])
            .bind([0; 0])
            .bind([right.attempt])
            .bind([1])
            .bind([2])
            .bind(right.version + 1);
        let mut tried = shop.pool.begin().await.unwrap();
        told(tried.execute(query).await)
    };

    assert_eq!(collects(right.version).await, Ok(()));
    assert_eq!(collects(right.version - 1).await, Err((LOST.to_owned(), None)));
}

#[tokio::test]
async fn the_tables_refuse_what_no_statement_may_write() {
    let shop = world().await;
    let scene = scene(&shop).await;
    let attempt = scene.attempt("ann", &[(1, 1)]).await;
    scene.decided(attempt).await;
    let refused = [
        ("UPDATE item_stock SET sold = stock + 1", "23514", "items_sold_within_stock"),
        ("UPDATE item_stock SET sold = -1", "23514", "items_sold_within_stock"),
        ("UPDATE buyers SET bought = buyer_limit + 1", "23514", "buyers_bought_within_limit"),
        ("INSERT INTO purchases SELECT * FROM purchases", "23505", "purchases_from_0_pkey"),
        ("INSERT INTO buyers SELECT * FROM buyers", "23505", "buyers_from_0_pkey"),
    ];

    for (sql, code, constraint) in refused {
        let said = told(shop.pool.execute(sql).await);
        assert_eq!(said, Err((code.to_owned(), Some(constraint.to_owned()))), "{sql}");
    }
}

#[tokio::test]
async fn buyers_are_locked_in_the_order_of_their_bytes_whatever_order_their_codes_come_in() {
    let shop = world().await;
    let scene = scene(&shop).await;
    let attempts =
        [scene.attempt("bob", &[(1, 1)]).await.get(), scene.attempt("ann", &[(1, 1)]).await.get()];
    let mut holder = shop.pool.begin().await.unwrap();
    holder.execute("SELECT FROM buyers WHERE user_id = 'bob' FOR UPDATE").await.unwrap();
    let mut batch = shop.pool.begin().await.unwrap();
    let text = of_partition(purchase_sql::STATEMENTS[purchase_sql::LOCK_BUYERS_AT], "");
    let locks = sqlx::query(AssertSqlSafe(text)).bind(scene.sale.get()).bind(attempts);

    let (locked, ()) = tokio::join!(locks.execute(&mut *batch), async {
        shop.somebody_waits().await;
        let free = "SELECT FROM buyers WHERE user_id = 'ann' FOR UPDATE SKIP LOCKED";
        let free = shop.pool.fetch_optional(free).await.unwrap();
        assert!(free.is_none(), "whoever waits for bob has not locked ann before");
        holder.rollback().await.unwrap();
    });

    locked.unwrap();
}

/// Runs a batch that locks while somebody changes ann's row.
async fn beside_a_change<T: BatchTransaction>(
    shop: &PostgresShop,
    batch: T,
    sale: SaleId,
    request: T::Request,
) -> Vec<T::Reply> {
    let changes = "UPDATE buyers SET version = version + 1;
         INSERT INTO checkout_items
             SELECT sale_id, attempt_id, 2, 1, clock_timestamp() FROM checkout_items";
    let mut holder = shop.pool.begin().await.unwrap();
    holder.execute(sqlx::raw_sql(changes)).await.unwrap();
    let mut session: PgConnection = shop.pool.acquire().await.unwrap().detach();
    let mut begun = session.begin().await.unwrap();

    let requests = [request];
    let (replies, ()) = tokio::join!(batch.run(&mut begun, sale, &requests, Mode::Locked), async {
        shop.somebody_waits().await;
        holder.commit().await.unwrap();
    });

    let replies = replies.unwrap();
    begun.commit().await.unwrap();
    replies
}

#[tokio::test]
async fn a_purchase_that_locks_reads_what_was_there_when_it_had_the_lock() {
    let shop = world().await;
    let scene = scene(&shop).await;
    let attempt: AttemptId = scene.attempt("ann", &[(1, 1)]).await;
    let batch = SettleBatch::new(shop.database().await);

    let replies = beside_a_change(&shop, batch, scene.sale, settle_of(scene.sale, attempt)).await;

    let Settled::Now(decision) = &replies[0] else { panic!("{replies:?}") };
    assert_eq!(decision.outcome.sold().count(), 2);
}

#[tokio::test]
async fn a_checkout_that_locks_reads_what_was_there_when_it_had_the_lock() {
    let shop = world().await;
    let scene = scene(&shop).await;
    scene.attempt("ann", &[(1, 1)]).await;
    let batch = CollectBatch::new(shop.database().await);

    let wish = collect(scene.sale, "ann", 1, 3);
    let replies = beside_a_change(&shop, batch, scene.sale, wish).await;

    let Collected::Added { standing, .. } = &replies[0] else { panic!("{replies:?}") };
    assert_eq!(standing.lines.len(), 2);
}

#[tokio::test]
async fn what_another_instance_collected_since_is_in_the_purchase_or_stops_it() {
    let shop = world().await;
    let scene = scene(&shop).await;
    let (here, there) = (shop.database().await, shop.database().await);
    let collects = async |database: &Database, item| {
        let wish = collect(scene.sale, "ann", item, 1);
        let batch = CollectBatch::new(database.clone());
        let replies = Session::default().run(database, &batch, scene.sale, &[wish]).await.unwrap();
        let Collected::Added { attempt, .. } = replies[0] else { panic!("{replies:?}") };
        attempt
    };
    let attempt = collects(&here, 1).await;
    assert_eq!(collects(&there, 2).await, attempt);
    let batch = SettleBatch::new(here.clone());

    // On what is remembered here it decides without a look.
    let mut connection = here.acquire().await.unwrap();
    let blindly = batch
        .run(&mut connection, scene.sale, &[settle_of(scene.sale, attempt)], Mode::AtOnce)
        .await;
    assert_eq!(blindly.unwrap_err().class(), ErrorClass::Transient);

    let replies = batch
        .run(&mut connection, scene.sale, &[settle_of(scene.sale, attempt)], Mode::AtOnce)
        .await
        .unwrap();
    let Settled::Now(decision) = &replies[0] else { panic!("{replies:?}") };
    assert_eq!(decision.outcome.sold().count(), 2);
}

#[tokio::test]
async fn a_key_of_a_buyer_is_written_once() {
    let shop = world().await;
    let (ann, key) = (buyer("ann"), key_use("k", "1"));
    let database = shop.database().await;
    let mut connection = database.acquire().await.unwrap();
    let mut write = async |sale| {
        let (key, attempt) = (&key, attempt_id(sale));
        let row =
            KeyRow { buyer: &ann, key, sale: sale_id(sale), attempt, effect: Effect::Purchased };
        rows::insert(&database, &mut connection, std::iter::once(row)).await
    };

    write(1).await.unwrap();
    let again = write(2).await.unwrap_err();

    assert_eq!(again.class(), ErrorClass::Transient, "{again}");
}
