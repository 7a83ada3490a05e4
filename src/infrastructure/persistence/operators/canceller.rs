//! Purchases that are taken back, in PostgreSQL.
//!
//! One transaction, in the order of all locks: the buyer, what the purchase has and has lost, the items, the sale. What is read is read
//! after the lock of the buyer, which orders two cancellations of one purchase; the key of `purchase_cancellations` would stop the
//! second one all the same.

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use sqlx::{Executor, PgConnection, SqlStr};

use super::locked_sale::locked_sale;
use super::record::Record;
use crate::application::ports::{PortError, PurchaseCanceller};
use crate::domain::cancellation::{
    CancelRefusal, Cancellation, CancelledLine, PurchaseLine, Wanted, pieces, to_cancel,
};
use crate::domain::checkout::Line;
use crate::domain::code::CodeClaim;
use crate::domain::ids::{BuyerId, ItemId, ItemNo, Quantity};
use crate::domain::purchase::LineOutcome;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::pool::tx::{Options, Tx};
use crate::infrastructure::persistence::purchase::outcomes::line_outcome;
use crate::infrastructure::persistence::row::from_row;

/// An outcome never changes, so it is found before the lock.
const BUYER: &str = "SELECT user_id FROM purchases WHERE sale_id = $1 AND attempt_id = $2";

const LOCK_BUYER: &str = r"
    SELECT bought FROM buyers WHERE sale_id = $1 AND user_id = $2 FOR NO KEY UPDATE
";

const LINES: &str = r"
    SELECT l.item_no, l.quantity, l.outcome, i.item_id, c.cancelled_at
    FROM purchase_items AS l
    JOIN items AS i ON i.sale_id = l.sale_id AND i.item_no = l.item_no
    LEFT JOIN purchase_cancellations AS c
        ON c.sale_id = l.sale_id AND c.attempt_id = l.attempt_id AND c.item_no = l.item_no
    WHERE l.sale_id = $1 AND l.attempt_id = $2
    ORDER BY l.item_no
";

/// The rows are locked above the sort.
const LOCK_ITEMS: &str = r"
    SELECT item_no FROM item_stock
    WHERE sale_id = $1 AND item_no = ANY($2)
    ORDER BY item_no
    FOR NO KEY UPDATE
";

/// All that a cancellation writes but its audit, in one statement: from its date to its commit buyers wait for the pieces. Every row but
/// that of the report is locked. The version grows as with each change of a buyer's row: what instances remember of it is outdated. The
/// report is that of a sale which is closed: what is sold of it later cannot be, what is taken back can.
const WRITE: &str = r"
    WITH taken AS MATERIALIZED (
        SELECT item_no, quantity FROM unnest($3::int[], $4::int[]) AS t(item_no, quantity)
    ), cancelled AS (
        INSERT INTO purchase_cancellations (sale_id, attempt_id, item_no, quantity, user_id, cancelled_at, actor)
        SELECT $1, $2, item_no, quantity, $5, $6, $7 FROM taken
    ), returned AS (
        UPDATE item_stock AS s
        SET sold = s.sold - t.quantity
        FROM taken AS t
        WHERE s.sale_id = $1 AND s.item_no = t.item_no
    ), given_back AS (
        UPDATE buyers
        SET bought = bought - $8::int,
            version = greatest(version + 1, (extract(epoch FROM $6::timestamptz) * 1000000)::bigint)
        WHERE sale_id = $1 AND user_id = $5
    ), told AS (
        INSERT INTO outbox (sale_id, kind, data) VALUES ($1, 'cancelled', $9::text::jsonb)
    ), reported AS (
        UPDATE sale_reports
        SET report = report || jsonb_build_object(
            'sold', (report ->> 'sold')::bigint - $8::int,
            'cancelled', coalesce((report ->> 'cancelled')::bigint, 0) + $8::int,
            'buyers', (report ->> 'buyers')::bigint - $10::bigint,
            'sold_out_at', NULL,
            'seconds_to_sell_out', NULL
        )
        WHERE sale_id = $1
    )
    UPDATE sales SET generation = generation + 1 WHERE id = $1
";

from_row! {
    #[derive(Debug)]
    struct LineRow {
        item_no: i32,
        quantity: i32,
        outcome: String,
        item_id: String,
        cancelled_at: Option<DateTime<Utc>>,
    }
}

impl LineRow {
    fn into_line(self) -> Option<PurchaseLine> {
        Some(PurchaseLine {
            line: Line { item: ItemNo(self.item_no), quantity: Quantity::new(self.quantity)? },
            id: ItemId::parse(&self.item_id).ok()?,
            outcome: line_outcome(&self.outcome)?,
            cancelled_at: self.cancelled_at,
        })
    }
}

/// Takes purchases back.
pub(crate) struct PostgresPurchaseCanceller {
    database: Database,
}

impl PostgresPurchaseCanceller {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }
}

#[async_trait]
impl PurchaseCanceller for PostgresPurchaseCanceller {
    async fn cancel(
        &self,
        code: CodeClaim,
        wanted: &Wanted,
        actor: &str,
    ) -> Result<Result<Cancellation, CancelRefusal>, PortError> {
        self.database
            .transaction(Options::RETRIED, |mut tx: Tx| async move {
                let cancelled = cancel(&mut tx, code, (wanted, actor));
                let cancelled = self.database.time(Statement::EditSale, cancelled).await?;
                Ok((tx, cancelled))
            })
            .await
            .map_err(|error| error.into_port_error("the cancellation"))
    }
}

async fn cancel(
    connection: &mut PgConnection,
    code: CodeClaim,
    (wanted, actor): (&Wanted, &str),
) -> Result<Result<Cancellation, CancelRefusal>, sqlx::Error> {
    let (sale, attempt) = (code.sale.get(), code.attempt.get());
    let buyer: Option<String> =
        sqlx::query_scalar(BUYER).bind(sale).bind(attempt).fetch_optional(&mut *connection).await?;
    let Some(buyer) = buyer else { return Ok(Err(CancelRefusal::NotPurchased)) };
    let buyer = BuyerId::parse(&buyer).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    let before: i32 = sqlx::query_scalar(LOCK_BUYER)
        .bind(sale)
        .bind(buyer.as_str())
        .fetch_one(&mut *connection)
        .await?;
    let purchase = lines(connection, code).await?;
    let lines = match to_cancel(&purchase, wanted) {
        Ok(lines) => lines,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let taken = Taken::of(&lines);
    // What comes after the locks is prepared before them.
    connection.prepare(SqlStr::from_static(WRITE)).await?;
    Record::prepare(connection).await?;
    sqlx::query(LOCK_ITEMS).bind(sale).bind(&taken.items).execute(&mut *connection).await?;
    let Some((_, _, now)) = locked_sale(connection, code.sale).await? else {
        return Ok(Err(CancelRefusal::NotPurchased));
    };
    let bought = before - pieces(&lines);
    let left = left(&purchase, &lines);
    let pieces_left = left.iter().map(|line| line.line.quantity.get()).sum();
    let cancellation = Cancellation { buyer, cancelled_at: now, lines, pieces_left, bought };
    taken.write(connection, code, (&cancellation, actor)).await?;
    let record = Record {
        sale: code.sale,
        action: "purchase_cancelled",
        actor,
        subject: Some(format!("purchase {code}")),
        before: state(before, sold(&purchase)),
        after: state(bought, left.into_iter()),
    };
    record.write(connection).await?;
    Ok(Ok(cancellation))
}

async fn lines(
    connection: &mut PgConnection,
    code: CodeClaim,
) -> Result<Vec<PurchaseLine>, sqlx::Error> {
    let rows: Vec<LineRow> = sqlx::query_as(LINES)
        .bind(code.sale.get())
        .bind(code.attempt.get())
        .fetch_all(connection)
        .await?;
    let lines: Option<Vec<PurchaseLine>> = rows.into_iter().map(LineRow::into_line).collect();
    lines.ok_or_else(|| sqlx::Error::Decode("purchase_items".into()))
}

/// Items and their pieces, by item number.
struct Taken {
    items: Vec<i32>,
    quantities: Vec<i32>,
}

impl Taken {
    fn of(lines: &[CancelledLine]) -> Self {
        let items = lines.iter().map(|cancelled| cancelled.line.item.0).collect();
        let quantities = lines.iter().map(|cancelled| cancelled.line.quantity.get()).collect();
        Self { items, quantities }
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        code: CodeClaim,
        (cancellation, actor): (&Cancellation, &str),
    ) -> Result<(), sqlx::Error> {
        sqlx::query(WRITE)
            .bind(code.sale.get())
            .bind(code.attempt.get())
            .bind(&self.items)
            .bind(&self.quantities)
            .bind(cancellation.buyer.as_str())
            .bind(cancellation.cancelled_at)
            .bind(actor)
            .bind(cancellation.pieces())
            .bind(event(code, cancellation).to_string())
            .bind(i64::from(cancellation.bought == 0))
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// The lines that are sold.
fn sold(purchase: &[PurchaseLine]) -> impl Iterator<Item = &PurchaseLine> {
    let is_sold =
        |line: &&PurchaseLine| line.outcome == LineOutcome::Sold && line.cancelled_at.is_none();
    purchase.iter().filter(is_sold)
}

/// The lines that stay sold.
fn left<'p>(purchase: &'p [PurchaseLine], cancelled: &[CancelledLine]) -> Vec<&'p PurchaseLine> {
    let stays = |line: &&PurchaseLine| {
        cancelled.iter().all(|cancelled| cancelled.line.item != line.line.item)
    };
    sold(purchase).filter(stays).collect()
}

/// The content of the event of a cancellation.
fn event(code: CodeClaim, cancellation: &Cancellation) -> Value {
    let lines = cancellation.lines.iter().map(|cancelled| {
        json!({ "item": cancelled.line.item.0, "quantity": cancelled.line.quantity.get() })
    });
    json!({
        "attempt": code.attempt.get(),
        "buyer": cancellation.buyer.as_str(),
        "cancelled_at": cancellation.cancelled_at.to_rfc3339_opts(SecondsFormat::Micros, true),
        "pieces_left": cancellation.pieces_left,
        "lines": lines.collect::<Vec<_>>(),
    })
}

/// A purchase in the audit, with the pieces that its buyer has in the sale.
fn state<'p>(bought: i32, lines: impl Iterator<Item = &'p PurchaseLine>) -> Value {
    let items = lines
        .map(|line| json!({ "id": line.id.as_str(), "quantity": line.line.quantity.get() }))
        .collect::<Vec<_>>();
    json!({ "items": items, "bought": bought })
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::application::ports::CodeSigner;
    use crate::domain::ids::AttemptId;
    use crate::domain::purchase::Outcome;
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

    fn of(items: &[&str]) -> Wanted {
        Wanted::Items(items.iter().map(|item| item_id(item)).collect())
    }

    async fn generation(scene: &Scene<'_>) -> i64 {
        scene.instance.sales.find(scene.sale).await.unwrap().unwrap().generation
    }

    async fn stored(scene: &Scene<'_>, attempt: AttemptId) -> Outcome {
        scene.instance.ledger.outcome(scene.sale, attempt).await.unwrap().unwrap()
    }

    /// The number of entries of the audit that are no creations.
    async fn entries(shop: &PostgresShop) -> i64 {
        let sql = "SELECT count(*) FROM sale_audit WHERE action <> 'created'";
        sqlx::query_scalar(sql).fetch_one(&shop.pool).await.unwrap()
    }

    #[tokio::test]
    async fn the_pieces_sell_again_within_the_limit_that_was_given_back_and_the_outcome_stays() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms { items: 2, stock: 2, buyer_limit: 3 }).await;
        let attempt = scene.attempt("ann", &[(1, 2), (2, 1)]).await;
        scene.decided(attempt).await;
        let (answered, before) = (stored(&scene, attempt).await, generation(&scene).await);

        let canceller = canceller(&shop).await;
        let taken = canceller.cancel(code(&scene, attempt), &of(&["1"]), "eve").await;

        let taken = taken.unwrap().unwrap();
        assert_eq!((taken.pieces(), taken.pieces_left, taken.bought), (2, 1, 1));
        assert_eq!(taken.lines[0].line, line(1, 2));
        assert_eq!(generation(&scene).await, before + 1);
        assert_eq!(stored(&scene, attempt).await, answered);
        assert_eq!(scene.progress().await.sold, 1);
        let again = scene.attempt("ann", &[(1, 2)]).await;
        assert_eq!(scene.decided(again).await.bought, 3);
        let entry = "SELECT concat_ws(' ', actor, action, subject, before, after) FROM sale_audit WHERE action <> 'created'";
        let entry: String = sqlx::query_scalar(entry).fetch_one(&shop.pool).await.unwrap();
        let expected = format!(
            "eve purchase_cancelled purchase {} {} {}",
            code(&scene, attempt),
            r#"{"items": [{"id": "1", "quantity": 2}, {"id": "2", "quantity": 1}], "bought": 3}"#,
            r#"{"items": [{"id": "2", "quantity": 1}], "bought": 1}"#
        );
        assert_eq!(entry, expected);
    }

    #[tokio::test]
    async fn of_many_at_once_one_cancels_and_the_others_are_told_that_it_is_done() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(1, 9)).await;
        let attempt = scene.attempt("ann", &[(1, 2)]).await;
        scene.decided(attempt).await;
        let code = code(&scene, attempt);
        let canceller = canceller(&shop).await;

        let all = join_all((0..8).map(|_| canceller.cancel(code, &Wanted::All, "eve"))).await;

        let all: Vec<_> = all.into_iter().map(Result::unwrap).collect();
        assert_eq!(all.iter().filter(|one| one.is_ok()).count(), 1);
        let is_told = |one: &&Result<_, _>| matches!(one, Err(CancelRefusal::AlreadyCancelled(_)));
        assert_eq!(all.iter().filter(is_told).count(), 7);
        assert_eq!((scene.progress().await.sold, entries(&shop).await), (0, 1));
    }

    #[tokio::test]
    async fn what_instances_remember_of_a_buyer_is_outdated_by_a_cancellation() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(1, 9)).await;
        let attempt = scene.attempt("ann", &[(1, 2)]).await;
        scene.decided(attempt).await;
        let open = scene.attempt("ann", &[(1, 1)]).await;
        let version = async || -> i64 {
            let sql = "SELECT version FROM buyers";
            sqlx::query_scalar(sql).fetch_one(&shop.pool).await.unwrap()
        };
        let before = version().await;
        let canceller = canceller(&shop).await;

        canceller.cancel(code(&scene, attempt), &Wanted::All, "eve").await.unwrap().unwrap();

        assert!(version().await > before);
        assert_eq!(scene.decided(open).await.bought, 1);
    }

    #[tokio::test]
    async fn what_is_refused_changes_nothing() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(3, 1)).await;
        scene.decided(scene.attempt("bob", &[(2, 1)]).await).await;
        let attempt = scene.extra_attempt("ann", &[line(1, 1), line(2, 1)]).await;
        scene.decided(attempt).await;
        let open = scene.attempt("cat", &[(3, 1)]).await;
        let before = generation(&scene).await;
        let canceller = canceller(&shop).await;
        let refused = async |attempt, wanted: Wanted| {
            canceller.cancel(code(&scene, attempt), &wanted, "eve").await.unwrap().unwrap_err()
        };

        assert_eq!(refused(open, Wanted::All).await, CancelRefusal::NotPurchased);
        let unknown = AttemptId::new(999).unwrap();
        assert_eq!(refused(unknown, Wanted::All).await, CancelRefusal::NotPurchased);
        let not_sold = CancelRefusal::NotSold("2".to_owned());
        assert_eq!(refused(attempt, of(&["1", "2"])).await, not_sold);
        let not_there = CancelRefusal::NotInPurchase("3".to_owned());
        assert_eq!(refused(attempt, of(&["1", "3"])).await, not_there);
        assert_eq!(scene.progress().await.sold, 2);
        assert_eq!((generation(&scene).await, entries(&shop).await), (before, 0));
    }

    #[tokio::test]
    async fn without_its_row_in_the_audit_nothing_is_cancelled() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(1, 9)).await;
        let attempt = scene.attempt("ann", &[(1, 2)]).await;
        scene.decided(attempt).await;
        let canceller = canceller(&shop).await;
        shop.execute("ALTER TABLE sale_audit ADD CONSTRAINT not_now CHECK (actor <> 'eve')").await;

        let failed = canceller.cancel(code(&scene, attempt), &Wanted::All, "eve").await;

        assert!(failed.is_err());
        assert_eq!(scene.progress().await.sold, 2);
        canceller.cancel(code(&scene, attempt), &Wanted::All, "bob").await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_cancellation_waits_for_the_buyers_own_purchase_and_sees_it() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms { items: 2, stock: 9, buyer_limit: 4 }).await;
        let first = scene.attempt("ann", &[(1, 2)]).await;
        scene.decided(first).await;
        let canceller = canceller(&shop).await;
        let mut purchase = shop.pool.begin().await.unwrap();
        let buys = "UPDATE buyers SET bought = bought + 1, version = version + 1";
        sqlx::query(buys).execute(&mut *purchase).await.unwrap();

        let (taken, ()) =
            tokio::join!(canceller.cancel(code(&scene, first), &Wanted::All, "eve"), async {
                shop.wait_until_blocked().await;
                purchase.commit().await.unwrap();
            });

        assert_eq!(taken.unwrap().unwrap().bought, 1);
    }
}
