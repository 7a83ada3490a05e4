//! Reads what is on record of buyers, attempts and requests.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::refusals::{RefusalRow, refusal_columns};
use super::story;
use crate::application::ports::{
    AttemptLine, AttemptRecord, Cursor, CursorPage, PortError, RefusalRecord, RequestRecord,
    StoryEntry, StoryFilter, StoryKey, StoryReader,
};
use crate::domain::ids::{AttemptId, BuyerId, ItemId, Quantity, RequestId, SaleId};
use crate::infrastructure::persistence::partitions::Partitions;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::tx::Options;
use crate::infrastructure::persistence::purchase::outcomes::of_letter;
use crate::infrastructure::persistence::row::from_row;

const WHAT: &str = "the record";
/// Maximum number of refusals of one attempt or request: the last ones. A client may repeat without end.
const MAX_REFUSALS: i64 = 50;
/// Maximum number of purchases that were answered under one id.
const MAX_ANSWERED: i64 = 10;

const ATTEMPT: &str = r"
    SELECT a.user_id, a.created_at, p.purchased_at
    FROM checkout_attempts{of_sale} AS a
    LEFT JOIN purchases{of_sale} AS p ON p.sale_id = a.sale_id AND p.attempt_id = a.id
    WHERE a.sale_id = $1 AND a.id = $2
";

const LINES: &str = r"
    SELECT i.item_id, c.quantity, c.added_at, substr(p.outcomes, array_position(p.item_nos, c.item_no), 1) AS outcome,
           t.cancelled_at, s.left_now
    FROM (
        SELECT item_no, quantity, added_at FROM checkout_items{of_sale}
        WHERE sale_id = $1 AND attempt_id = $2
        ORDER BY item_no
        OFFSET 0
    ) AS c
    CROSS JOIN LATERAL (
        SELECT item_id FROM items{of_sale} WHERE sale_id = $1 AND item_no = c.item_no OFFSET 0
    ) AS i
    CROSS JOIN LATERAL (
        SELECT stock - sold AS left_now FROM item_stock{of_sale}
        WHERE sale_id = $1 AND item_no = c.item_no
        OFFSET 0
    ) AS s
    LEFT JOIN (
        SELECT item_nos, outcomes FROM purchases{of_sale} WHERE sale_id = $1 AND attempt_id = $2 OFFSET 0
    ) AS p ON true
    LEFT JOIN LATERAL (
        SELECT cancelled_at FROM purchase_cancellations{of_sale}
        WHERE sale_id = $1 AND attempt_id = $2 AND item_no = c.item_no
        OFFSET 0
    ) AS t ON true
";

/// An attempt's number is unique over all sales; the sale's would offer the planner the primary key, which leads to all refusals of it.
const REFUSALS_OF_ATTEMPT: &str = concat!(
    "SELECT ",
    refusal_columns!(),
    r"
    FROM checkout_refusals{of_sale} AS r
    WHERE r.attempt_id = $2 AND r.sale_id + 0 = $1
    ORDER BY r.refused_at DESC
    LIMIT $3
"
);

const REFUSALS_OF_REQUEST: &str = concat!(
    "SELECT ",
    refusal_columns!(),
    r"
    FROM checkout_refusals AS r
    WHERE r.request_id = $1
    ORDER BY r.refused_at DESC
    LIMIT $2
"
);

const ANSWERED: &str = r"
    SELECT sale_id, attempt_id FROM purchase_requests
    WHERE request_id = $1
    ORDER BY attempt_id DESC
    LIMIT $2
";

const STATEMENTS: [&str; 3] = [ATTEMPT, LINES, REFUSALS_OF_ATTEMPT];
const ATTEMPT_AT: usize = 0;
const LINES_AT: usize = 1;
const REFUSALS_AT: usize = 2;

from_row! {
    #[derive(Debug)]
    struct LineRow {
        item_id: String,
        quantity: i32,
        added_at: DateTime<Utc>,
        /// Its letter.
        outcome: Option<String>,
        cancelled_at: Option<DateTime<Utc>>,
        left_now: i32,
    }
}

impl LineRow {
    fn into_line(self) -> Option<AttemptLine> {
        let outcome = match self.outcome {
            Some(letter) => Some(of_letter(letter.chars().next()?)?),
            None => None,
        };
        Some(AttemptLine {
            item: ItemId::parse(&self.item_id).ok()?,
            quantity: Quantity::new(self.quantity)?,
            collected_at: self.added_at,
            outcome,
            cancelled_at: self.cancelled_at,
            left_now: self.left_now,
        })
    }
}

/// Reads the record.
pub(crate) struct PostgresStoryReader {
    database: Database,
    partitions: Partitions<3>,
}

impl PostgresStoryReader {
    pub(crate) fn new(database: Database) -> Self {
        Self { database, partitions: Partitions::new(STATEMENTS) }
    }
}

/// Oldest first.
fn records(rows: Vec<RefusalRow>) -> Vec<RefusalRecord> {
    rows.into_iter().rev().filter_map(RefusalRow::into_record).collect()
}

#[async_trait]
impl StoryReader for PostgresStoryReader {
    async fn story(
        &self,
        buyer: &BuyerId,
        wanted: StoryFilter,
        after: Cursor<StoryKey>,
    ) -> Result<CursorPage<StoryEntry, StoryKey>, PortError> {
        self.database
            .transaction(Options::SNAPSHOT, |mut tx| async move {
                let page = story::read(&mut tx, buyer, wanted, after).await?;
                Ok((tx, page))
            })
            .await
            .map_err(|error| error.into_port_error(WHAT))
    }

    async fn attempt(
        &self,
        sale: SaleId,
        attempt: AttemptId,
    ) -> Result<Option<AttemptRecord>, PortError> {
        let read = self.partitions.snapshot(
            &self.database,
            Options::SNAPSHOT,
            sale,
            |mut tx, statements| async move {
                let (of_sale, number) = (sale.get(), attempt.get());
                let head = sqlx::query_as(statements.get(ATTEMPT_AT)).bind(of_sale).bind(number);
                let head: Option<(String, DateTime<Utc>, Option<DateTime<Utc>>)> =
                    head.fetch_optional(&mut *tx).await?;
                let lines = sqlx::query_as(statements.get(LINES_AT)).bind(of_sale).bind(number);
                let lines: Vec<LineRow> = lines.fetch_all(&mut *tx).await?;
                let refusals =
                    sqlx::query_as(statements.get(REFUSALS_AT)).bind(of_sale).bind(number);
                let refusals: Vec<RefusalRow> =
                    refusals.bind(MAX_REFUSALS).fetch_all(&mut *tx).await?;
                Ok((tx, (head, lines, refusals)))
            },
        );
        let read = read.await.map_err(|error| error.into_port_error(WHAT))?;
        let (Some((buyer, began_at, purchased_at)), lines, refusals) = read else {
            return Ok(None);
        };
        let unreadable = || DatabaseError::Unreadable("checkout_attempts").into_port_error(WHAT);
        let lines: Option<Vec<AttemptLine>> = lines.into_iter().map(LineRow::into_line).collect();
        Ok(Some(AttemptRecord {
            sale,
            attempt,
            buyer: BuyerId::parse(&buyer).map_err(|_| unreadable())?,
            began_at,
            purchased_at,
            lines: lines.ok_or_else(unreadable)?,
            refusals: records(refusals),
        }))
    }

    async fn request(&self, request: &RequestId) -> Result<RequestRecord, PortError> {
        let query = || {
            let query = sqlx::query_as(REFUSALS_OF_REQUEST).bind(request.as_str());
            query.bind(MAX_REFUSALS).fetch_all(self.database.pool())
        };
        let refusals: Vec<RefusalRow> = self.database.read(WHAT, query).await?;
        let query = || {
            let query = sqlx::query_as(ANSWERED).bind(request.as_str());
            query.bind(MAX_ANSWERED).fetch_all(self.database.pool())
        };
        let answered: Vec<(i64, i64)> = self.database.read(WHAT, query).await?;
        let answered = answered
            .into_iter()
            .filter_map(|(sale, attempt)| Some((SaleId::new(sale)?, AttemptId::new(attempt)?)));
        Ok(RequestRecord { refusals: records(refusals), answered: answered.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::{CodeSigner, Happened, PurchaseCanceller};
    use crate::domain::cancellation::Wanted;
    use crate::domain::purchase::LineOutcome;
    use crate::infrastructure::persistence::operators::canceller::PostgresPurchaseCanceller;
    use crate::testing::builders::buyer;
    use crate::testing::contracts::{Scene, Terms};
    use crate::testing::fakes::FakeSigner;
    use crate::testing::servers::PostgresShop;

    /// A refusal on record: of a checkout of item 1 by `who`, or of the purchase of an attempt.
    async fn refuse(shop: &PostgresShop, sale: SaleId, who: Option<&str>, of: Option<AttemptId>) {
        let sql = "INSERT INTO checkout_refusals
                       (sale_id, instance, sequence, position, operation, reason, user_id, item_id, attempt_id, refused_at, request_id)
                   SELECT $1, gen_random_uuid(), 1, n, CASE WHEN $3 IS NULL THEN 'checkout' ELSE 'purchase' END,
                          'item_sold_out', $2, CASE WHEN $3 IS NULL THEN '1' END, $3, clock_timestamp(), 'r-' || n
                   FROM generate_series(1, 2) AS n";
        let query = sqlx::query(sql).bind(sale.get()).bind(who).bind(of.map(AttemptId::get));
        query.execute(&shop.pool).await.unwrap();
    }

    /// Ann has bought in two sales, has given something back, collects in one of them, and was refused.
    async fn history(shop: &PostgresShop) -> (SaleId, AttemptId) {
        let other = Scene::open(shop, Terms::stocked(2, 9)).await;
        let elsewhere = other.attempt("ann", &[(2, 1)]).await;
        other.decided(elsewhere).await;
        let scene = Scene::open(shop, Terms::stocked(3, 2)).await;
        let attempt = scene.attempt("ann", &[(1, 2), (2, 1)]).await;
        scene.decided(attempt).await;
        let bobs = scene.attempt("bob", &[(3, 1)]).await;
        scene.decided(bobs).await;
        refuse(shop, scene.sale, Some("ann"), None).await;
        refuse(shop, scene.sale, None, Some(attempt)).await;
        refuse(shop, scene.sale, Some("bob"), None).await;
        let canceller = PostgresPurchaseCanceller::new(shop.database().await);
        let code = FakeSigner { key: 1 }.sign(scene.sale, attempt);
        canceller.cancel(code, &Wanted::All, "eve").await.unwrap().unwrap();
        scene.attempt("ann", &[(3, 1)]).await;
        (scene.sale, attempt)
    }

    fn told(entry: &StoryEntry) -> String {
        match &entry.happened {
            Happened::Began(_) => "began".to_owned(),
            Happened::Collected(_, item, pieces) => {
                format!("{} of {}", pieces.get(), item.as_str())
            }
            Happened::Purchased(_, lines) => {
                let sold = lines.iter().filter(|line| line.outcome == LineOutcome::Sold);
                format!("bought {}", sold.count())
            }
            Happened::Refused(refusal) => format!("refused {}", refusal.operation),
            Happened::Cancelled(_, item, _, actor) => {
                format!("{} back by {actor}", item.as_str())
            }
        }
    }

    async fn walk(reader: &PostgresStoryReader, wanted: StoryFilter, limit: u32) -> Vec<String> {
        let (mut story, mut entry) = (Vec::new(), None);
        loop {
            let after = Cursor { entry, limit };
            let page = reader.story(&buyer("ann"), wanted, after).await.unwrap();
            story.extend(page.entries.iter().map(told));
            entry = page.next;
            if entry.is_none() {
                return story;
            }
        }
    }

    #[tokio::test]
    async fn a_story_is_told_whole_in_the_order_of_time_whatever_the_size_of_its_pages() {
        let shop = PostgresShop::open().await;
        let (sale, _) = history(&shop).await;
        let reader = PostgresStoryReader::new(shop.database().await);
        let here = [
            "began",
            "2 of 1",
            "1 of 2",
            "bought 2",
            "refused checkout",
            "refused checkout",
            "refused purchase",
            "refused purchase",
            "1 back by eve",
            "2 back by eve",
            "began",
            "1 of 3",
        ];
        let elsewhere = ["began", "1 of 2", "bought 1"];

        for limit in [1, 2, 3, 100] {
            let all = walk(&reader, StoryFilter::default(), limit).await;
            assert_eq!(all, [&elsewhere[..], &here[..]].concat(), "pages of {limit}");
        }
        let of_sale = StoryFilter { sale: Some(sale), ..StoryFilter::default() };
        assert_eq!(walk(&reader, of_sale, 5).await, here);
        let refusals_only = StoryFilter { refusals_only: true, ..of_sale };
        assert_eq!(walk(&reader, refusals_only, 3).await, here[4..8]);
    }

    #[tokio::test]
    async fn an_attempt_has_its_lines_its_refusals_and_what_is_left_now() {
        let shop = PostgresShop::open().await;
        let (sale, attempt) = history(&shop).await;
        let reader = PostgresStoryReader::new(shop.database().await);

        let record = reader.attempt(sale, attempt).await.unwrap().unwrap();

        let lines: Vec<_> = record
            .lines
            .iter()
            .map(|line| {
                (
                    line.item.as_str(),
                    line.quantity.get(),
                    line.left_now,
                    line.cancelled_at.is_some(),
                )
            })
            .collect();
        assert_eq!(lines, [("1", 2, 2, true), ("2", 1, 2, true)]);
        assert!(record.purchased_at > Some(record.began_at));
        let requests: Vec<_> =
            record.refusals.iter().filter_map(|one| Some(one.request.as_ref()?.as_str())).collect();
        assert_eq!((record.buyer.as_str(), requests), ("ann", vec!["r-1", "r-2"]));
        let unknown = AttemptId::new(999).unwrap();
        assert_eq!(reader.attempt(sale, unknown).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_request_is_found_by_its_id_among_the_refusals_and_among_the_answered() {
        let shop = PostgresShop::open().await;
        let (sale, attempt) = history(&shop).await;
        let reader = PostgresStoryReader::new(shop.database().await);
        let answered = "INSERT INTO purchase_requests VALUES ($1, $2, 'r-9')";
        let answered = sqlx::query(answered).bind(sale.get()).bind(attempt.get());
        answered.execute(&shop.pool).await.unwrap();
        let found = async |id| reader.request(&RequestId::parse(id).unwrap()).await.unwrap();

        let refused = found("r-2").await;

        assert_eq!(refused.refusals.len(), 3);
        assert!(refused.refusals.is_sorted_by_key(|one| one.refused_at));
        assert_eq!(refused.refusals[0].left_now, Some(2));
        assert_eq!(found("r-9").await.answered, [(sale, attempt)]);
        assert_eq!(found("r-77").await, RequestRecord::default());
    }

    /// By an index, however many there are: otherwise the statement would read all of them.
    #[tokio::test]
    async fn the_refusals_of_an_attempt_and_of_a_request_are_found_by_index() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::unique(1)).await;
        let reader = PostgresStoryReader::new(shop.database().await);
        let of_attempt = REFUSALS_OF_ATTEMPT.replace("{of_sale}", "_from_0");
        for (sql, index) in [
            (of_attempt.as_str(), "checkout_refusals_from_0_attempt_id_refused_at_idx"),
            (REFUSALS_OF_REQUEST, "checkout_refusals_from_0_request_id_refused_at_idx"),
        ] {
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN {sql}"));
            let mut connection = reader.database.acquire().await.unwrap();
            let query = sqlx::query_scalar(explain);
            let plan: Vec<String> = if sql == REFUSALS_OF_REQUEST {
                query.bind("r-1").bind(MAX_REFUSALS).fetch_all(&mut *connection).await.unwrap()
            } else {
                let query = query.bind(scene.sale.get()).bind(7_i64).bind(MAX_REFUSALS);
                query.fetch_all(&mut *connection).await.unwrap()
            };
            let plan = plan.join("\n");
            assert!(plan.contains(index), "{plan}");
        }
    }
}
