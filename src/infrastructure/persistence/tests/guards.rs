//! Tests each guard of the writing statements alone. The guards back each other up: what one of them lets through, the next one stops,
//! so that from outside a missing guard cannot be seen. Here a statement gets arguments that no decision would contain, and must fail
//! with `serialization_failure`, which `hold_batch` raises when it counts the rows. A CHECK would fail with another code.

#![cfg(test)]

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::application::ports::{Collected, Effect, Settled};
use crate::domain::ids::{AttemptId, SaleId};
use crate::infrastructure::persistence::batch::context::BatchContext;
use crate::infrastructure::persistence::batch::ctid::Ctid;
use crate::infrastructure::persistence::batch::session;
use crate::infrastructure::persistence::batch::transaction::{BatchMode, BatchTransaction, Served};
use crate::infrastructure::persistence::checkout::batch::CollectBatch;
use crate::infrastructure::persistence::checkout::sql as checkout_sql;
use crate::infrastructure::persistence::idempotency::request::MaybeKeyed;
use crate::infrastructure::persistence::idempotency::rows::{self as key_rows, KeyRow};
use crate::infrastructure::persistence::partitions::for_partition;
use crate::infrastructure::persistence::pool::error::ErrorClass;
use crate::infrastructure::persistence::purchase::batch::SettleBatch;
use crate::infrastructure::persistence::purchase::sql as purchase_sql;
use crate::testing::builders::{attempt_id, buyer, collect, keyed_request, sale_id, settle_of};
use crate::testing::contracts::{Scene, Terms};
use crate::testing::servers::PostgresShop;

/// `serialization_failure`
const LOST_RACE: &str = "40001";
const LONG: Duration = Duration::from_secs(20);
/// Pieces of each item, and the limit of a buyer.
const STOCK: i32 = 50;
const LIMIT: i32 = 10;

/// The arguments of a writing statement: ann's purchase of some pieces of item 1.
#[derive(Debug, Clone, Copy)]
struct Arguments {
    sale: SaleId,
    attempt: i64,
    ctid: Ctid,
    version: i64,
    item_ctid: Ctid,
    pieces: i32,
    generation: i64,
    now: DateTime<Utc>,
}

/// The SQLSTATE, with the violated constraint if there is one.
type Refusal = (String, Option<String>);

async fn world() -> PostgresShop {
    PostgresShop::with_lock_timeout(LONG).await
}

async fn scene(shop: &PostgresShop) -> Scene<'_> {
    Scene::open(shop, Terms { items: 2, stock: STOCK, buyer_limit: LIMIT }).await
}

/// The right arguments for one piece.
async fn arguments(shop: &PostgresShop, scene: &Scene<'_>) -> Arguments {
    let attempt = scene.attempt("ann", &[(1, 1)]).await.get();
    let sql = "SELECT b.ctid, b.version, i.ctid, s.generation, clock_timestamp()
               FROM buyers AS b, item_stock AS i, sales AS s WHERE b.user_id = 'ann' AND i.item_no = 1";
    let (ctid, version, item_ctid, generation, now) =
        sqlx::query_as(sql).fetch_one(&shop.pool).await.unwrap();
    Arguments { sale: scene.sale, attempt, ctid, version, item_ctid, pieces: 1, generation, now }
}

/// Each statement that writes purchases.
const WRITES: [usize; 3] =
    [purchase_sql::WRITE_AT, purchase_sql::WRITE_CONTENDED_AT, purchase_sql::WRITE_UNREAD_AT];

/// Runs a statement with these arguments, and rolls it back.
async fn run(shop: &PostgresShop, statement: usize, arguments: Arguments) -> Result<(), Refusal> {
    let mut tx = shop.pool.begin().await.unwrap();
    let text = for_partition(purchase_sql::STATEMENTS[statement], "");
    let query = sqlx::query(AssertSqlSafe(text))
        .bind(arguments.sale.get())
        .bind([arguments.ctid])
        .bind(["ann"])
        .bind([arguments.version])
        .bind([arguments.pieces])
        .bind([arguments.attempt])
        .bind([arguments.item_ctid])
        .bind([1])
        .bind([arguments.pieces]);
    let query = if statement == purchase_sql::WRITE_UNREAD_AT {
        query.bind(arguments.generation)
    } else {
        query.bind(arguments.now)
    };
    let query = query
        .bind([arguments.attempt])
        .bind(["ann"])
        .bind([arguments.pieces])
        .bind([0])
        .bind([1])
        .bind([arguments.pieces])
        .bind([1])
        .bind([1])
        .bind(["s"]);
    refusal(tx.execute(query).await)
}

fn refusal<T>(result: sqlx::Result<T>) -> Result<(), Refusal> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => {
            let error = error.into_database_error().expect("the server refuses");
            Err((error.code().unwrap().into_owned(), error.constraint().map(str::to_owned)))
        }
    }
}

/// Fails unless every statement accepts the right arguments, and none of them the wrong ones.
async fn no_statement_writes(make_wrong: impl Fn(Arguments) -> Arguments) {
    let shop = world().await;
    let scene = scene(&shop).await;
    let right = arguments(&shop, &scene).await;
    for statement in WRITES {
        assert_eq!(run(&shop, statement, right).await, Ok(()), "statement {statement}");
        let wrong = run(&shop, statement, make_wrong(right)).await;
        assert_eq!(wrong, Err((LOST_RACE.to_owned(), None)), "statement {statement}");
    }
}

#[tokio::test]
async fn a_purchase_of_a_buyer_whose_row_has_another_version_is_not_written() {
    no_statement_writes(|right| Arguments { version: right.version - 1, ..right }).await;
}

#[tokio::test]
async fn more_than_the_buyers_limit_is_not_written() {
    no_statement_writes(|right| Arguments { pieces: LIMIT + 1, ..right }).await;
}

#[tokio::test]
async fn more_than_is_left_of_an_item_is_not_written() {
    let shop = world().await;
    let scene = scene(&shop).await;
    shop.execute("UPDATE item_stock SET sold = stock - 2").await;
    let right = Arguments { pieces: 2, ..arguments(&shop, &scene).await };
    for statement in WRITES {
        assert_eq!(run(&shop, statement, right).await, Ok(()), "statement {statement}");
        let wrong = run(&shop, statement, Arguments { pieces: 3, ..right }).await;
        assert_eq!(wrong, Err((LOST_RACE.to_owned(), None)), "statement {statement}");
    }
}

#[tokio::test]
async fn an_item_whose_row_has_moved_fails_the_whole_purchase() {
    let shop = world().await;
    let scene = scene(&shop).await;
    let read = arguments(&shop, &scene).await;
    shop.execute("UPDATE item_stock SET sold = sold + 1").await;

    let result = run(&shop, purchase_sql::WRITE_AT, read).await;

    assert_eq!(result, Err((LOST_RACE.to_owned(), None)));
    assert_eq!(run(&shop, purchase_sql::WRITE_CONTENDED_AT, read).await, Ok(()));
}

#[tokio::test]
async fn a_decision_for_another_generation_is_not_written() {
    let shop = world().await;
    let scene = scene(&shop).await;
    let right = arguments(&shop, &scene).await;
    let old = Arguments { generation: right.generation - 1, ..right };

    let result = run(&shop, purchase_sql::WRITE_UNREAD_AT, old).await;

    assert_eq!(result, Err((LOST_RACE.to_owned(), None)));
}

#[tokio::test]
async fn after_the_end_no_statement_writes() {
    let shop = world().await;
    let scene = scene(&shop).await;
    let right = arguments(&shop, &scene).await;
    // The generation stays as it was read.
    shop.execute("UPDATE sales SET ends_at = clock_timestamp()").await;

    for statement in WRITES {
        let result = run(&shop, statement, right).await;
        assert_eq!(result, Err((LOST_RACE.to_owned(), None)), "statement {statement}");
    }
}

#[tokio::test]
async fn a_checkout_of_a_buyer_whose_row_has_another_version_is_not_written() {
    let shop = world().await;
    let scene = scene(&shop).await;
    let right = arguments(&shop, &scene).await;
    let text = for_partition(checkout_sql::STATEMENTS[checkout_sql::WRITE_AT], "");
    let (no_attempts, no_buyers): (&[i64], &[&str]) = (&[], &[]);
    let collect = async |version: i64| {
        let query = sqlx::query(AssertSqlSafe(text.clone()))
            .bind(right.sale.get())
            .bind(LIMIT)
            .bind([right.ctid])
            .bind(["ann"])
            .bind([version])
            .bind([right.attempt])
            .bind(no_buyers)
            .bind(no_attempts)
            .bind(right.now)
            .bind(no_attempts)
            .bind(no_buyers)
            .bind(no_attempts)
            .bind([0; 0])
            .bind([0; 0])
            .bind([right.attempt])
            .bind([1])
            .bind([2])
            .bind(right.version + 1);
        let mut tx = shop.pool.begin().await.unwrap();
        refusal(tx.execute(query).await)
    };

    assert_eq!(collect(right.version).await, Ok(()));
    assert_eq!(collect(right.version - 1).await, Err((LOST_RACE.to_owned(), None)));
}

#[tokio::test]
async fn the_constraints_refuse_what_no_statement_may_write() {
    let shop = world().await;
    let scene = scene(&shop).await;
    let attempt = scene.attempt("ann", &[(1, 1)]).await;
    scene.decided(attempt).await;
    let refused = [
        ("UPDATE item_stock SET sold = stock + 1", "23514", "items_sold_within_stock"),
        ("UPDATE item_stock SET sold = -1", "23514", "items_sold_within_stock"),
        ("UPDATE buyers SET bought = buyer_limit + 1", "23514", "buyers_bought_within_limit"),
        ("INSERT INTO purchases SELECT * FROM purchases", "23505", "purchases_from_0_pkey"),
        ("UPDATE purchases SET item_nos = '{1, 2}'", "23514", "purchases_lines_complete"),
        ("UPDATE purchases SET outcomes = 'ss'", "23514", "purchases_lines_complete"),
        ("UPDATE purchases SET outcomes = 'x'", "23514", "purchases_outcomes_known"),
        ("UPDATE purchases SET quantities = '{0}'", "23514", "purchases_quantities_positive"),
        ("INSERT INTO buyers SELECT * FROM buyers", "23505", "buyers_from_0_pkey"),
    ];

    for (sql, code, constraint) in refused {
        let result = refusal(shop.pool.execute(sql).await);
        assert_eq!(result, Err((code.to_owned(), Some(constraint.to_owned()))), "{sql}");
    }
}

#[tokio::test]
async fn a_sale_cannot_be_moved_away_from_what_was_collected_in_it() {
    let shop = world().await;
    let scene = scene(&shop).await;
    let refusal_of = async |sql: &'static str| refusal(shop.pool.execute(sql).await);
    let refused = || Err(("23514".to_owned(), Some("sales_window_keeps_record".to_owned())));
    // No buyer has collected yet.
    shop.execute("UPDATE sales SET starts_at = starts_at + interval '1 minute'").await;
    let attempt = scene.attempt("ann", &[(1, 1)]).await;

    for sql in [
        "UPDATE sales SET starts_at = clock_timestamp()",
        "UPDATE sales SET starts_at = starts_at + interval '1 day', ends_at = ends_at + interval '1 day'",
        "UPDATE sales SET ends_at = starts_at + interval '1 millisecond'",
    ] {
        assert_eq!(refusal_of(sql).await, refused(), "{sql}");
    }
    scene.decided(attempt).await;
    shop.execute("UPDATE checkout_items SET added_at = (SELECT starts_at FROM sales)").await;
    let after_the_line = "UPDATE sales SET ends_at = starts_at + interval '1 millisecond'";
    assert_eq!(refusal_of(after_the_line).await, refused(), "the purchase counts too");

    for sql in [
        "UPDATE sales SET starts_at = starts_at - interval '1 day'",
        "UPDATE sales SET ends_at = ends_at + interval '1 day'",
        "UPDATE sales SET ends_at = clock_timestamp()",
    ] {
        assert_eq!(refusal_of(sql).await, Ok(()), "{sql}");
    }
}

#[tokio::test]
async fn what_is_collected_while_a_sale_is_being_moved_prevents_the_move() {
    let shop = world().await;
    let scene = scene(&shop).await;
    let mut moving = shop.pool.begin().await.unwrap();
    let postpone = "UPDATE sales SET starts_at = ends_at - interval '1 minute'";
    moving.execute(postpone).await.unwrap();

    scene.added("ann", 1, 1).await;

    let outcome = refusal(moving.commit().await);
    assert_eq!(outcome.map_err(|(code, _)| code), Err("23514".to_owned()));
}

#[tokio::test]
async fn buyers_are_locked_in_the_order_of_their_bytes_for_any_order_of_codes() {
    let shop = world().await;
    let scene = scene(&shop).await;
    let attempts =
        [scene.attempt("bob", &[(1, 1)]).await.get(), scene.attempt("ann", &[(1, 1)]).await.get()];
    let mut holder = shop.pool.begin().await.unwrap();
    holder.execute("SELECT FROM buyers WHERE user_id = 'bob' FOR UPDATE").await.unwrap();
    let mut batch = shop.pool.begin().await.unwrap();
    let text = for_partition(purchase_sql::STATEMENTS[purchase_sql::LOCK_BUYERS_AT], "");
    let lock = sqlx::query(AssertSqlSafe(text)).bind(scene.sale.get()).bind(attempts);

    let (locked, ()) = tokio::join!(lock.execute(&mut *batch), async {
        shop.wait_until_blocked().await;
        let free = "SELECT FROM buyers WHERE user_id = 'ann' FOR UPDATE SKIP LOCKED";
        let free = shop.pool.fetch_optional(free).await.unwrap();
        assert!(free.is_none(), "ann must be locked before bob");
        holder.rollback().await.unwrap();
    });

    locked.unwrap();
}

/// Runs a pessimistic batch while another transaction changes ann's row.
async fn beside_a_change<R, A, T>(shop: &PostgresShop, batch: T, sale: SaleId, request: R) -> Vec<A>
where
    T: BatchTransaction<Request = MaybeKeyed<R>, Reply = Option<A>>,
{
    let change = "UPDATE buyers SET version = version + 1;
         INSERT INTO checkout_items
             SELECT sale_id, attempt_id, 2, 1, clock_timestamp() FROM checkout_items";
    let mut holder = shop.pool.begin().await.unwrap();
    holder.execute(sqlx::raw_sql(change)).await.unwrap();
    let mut session: PgConnection = shop.pool.acquire().await.unwrap().detach();
    let mut tx = session.begin().await.unwrap();

    let requests = [MaybeKeyed::unkeyed(request)];
    let (replies, ()) =
        tokio::join!(batch.run(&mut tx, sale, &requests, BatchMode::Pessimistic), async {
            shop.wait_until_blocked().await;
            holder.commit().await.unwrap();
        });

    let replies = replies.unwrap();
    tx.commit().await.unwrap();
    replies.into_iter().filter_map(Served::reply).flatten().collect()
}

#[tokio::test]
async fn a_pessimistic_purchase_reads_after_it_has_the_lock() {
    let shop = world().await;
    let scene = scene(&shop).await;
    let attempt: AttemptId = scene.attempt("ann", &[(1, 1)]).await;
    let batch = SettleBatch::new(BatchContext::new(shop.database().await));

    let replies = beside_a_change(&shop, batch, scene.sale, settle_of(scene.sale, attempt)).await;

    let Settled::Now(decision) = &replies[0] else { panic!("{replies:?}") };
    assert_eq!(decision.outcome.sold().count(), 2);
}

#[tokio::test]
async fn a_pessimistic_checkout_reads_after_it_has_the_lock() {
    let shop = world().await;
    let scene = scene(&shop).await;
    scene.attempt("ann", &[(1, 1)]).await;
    let batch = CollectBatch::new(BatchContext::new(shop.database().await));

    let request = collect(scene.sale, "ann", 1, 3);
    let replies = beside_a_change(&shop, batch, scene.sale, request).await;

    let Collected::Added { totals, .. } = &replies[0] else { panic!("{replies:?}") };
    assert_eq!(totals.lines.len(), 2);
}

#[tokio::test]
async fn a_line_collected_by_another_instance_is_in_the_purchase_or_prevents_it() {
    let shop = world().await;
    let scene = scene(&shop).await;
    let here = BatchContext::new(shop.database().await);
    let there = BatchContext::new(shop.database().await);
    let collect_item = async |context: &BatchContext, item| {
        let request = MaybeKeyed::unkeyed(collect(scene.sale, "ann", item, 1));
        let batch = CollectBatch::new(context.clone());
        let served = session::run(context, &batch, scene.sale, &[request]).await.unwrap();
        let Served::Reply(Some(Collected::Added { attempt, .. })) = served[0] else {
            panic!("{served:?}")
        };
        attempt
    };
    let attempt = collect_item(&here, 1).await;
    assert_eq!(collect_item(&there, 2).await, attempt);
    let batch = SettleBatch::new(here.clone());

    // The first decision rests on what is remembered here.
    let mut connection = here.database.acquire().await.unwrap();
    let requests = [MaybeKeyed::unkeyed(settle_of(scene.sale, attempt))];
    let unread = batch.run(&mut connection, scene.sale, &requests, BatchMode::Optimistic).await;
    assert_eq!(unread.unwrap_err().class(), ErrorClass::Transient);

    let replies = batch.run(&mut connection, scene.sale, &requests, BatchMode::Optimistic).await;
    let replies = replies.unwrap();
    let Served::Reply(Some(Settled::Now(decision))) = &replies[0] else { panic!("{replies:?}") };
    assert_eq!(decision.outcome.sold().count(), 2);
}

#[tokio::test]
async fn a_key_of_a_buyer_is_written_once() {
    let shop = world().await;
    let (ann, key) = (buyer("ann"), keyed_request("k", "1"));
    let database = shop.database().await;
    let mut connection = database.acquire().await.unwrap();
    let mut write = async |sale| {
        let (key, attempt) = (&key, attempt_id(sale));
        let row =
            KeyRow { buyer: &ann, key, sale: sale_id(sale), attempt, effect: Effect::Purchased };
        key_rows::insert(&database, &mut connection, std::iter::once(row)).await
    };

    write(1).await.unwrap();
    let again = write(2).await.unwrap_err();

    assert_eq!(again.class(), ErrorClass::Transient, "{again}");
}
