//! The purchase history in PostgreSQL, newest first.
//!
//! A buyer's purchases over all sales are in as many partitions as there are hundreds of sales. So they are read in steps, each of a
//! bounded number of sales, in the order in which the sales end: what was bought before the end of the next sale may have newer
//! purchases behind it, and is left to the next step. Each statement names one partition.

use std::cmp::Reverse;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::outcomes::{OutcomeRow, assembled};
use crate::application::ports::{
    Cursor, CursorPage, Page, PageRequest, PastPurchase, PortError, PurchaseHistory, PurchaseKey,
};
use crate::domain::ids::{AttemptId, BuyerId, SaleId};
use crate::infrastructure::persistence::partitions::{Partitions, SaleRange, WIDTH};
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;

const WHAT: &str = "the buyer's purchases";
/// Sales whose purchases one step may read: those of eleven partitions if they were created in the order of their ends.
const SALES_A_STEP: i64 = 1_000;

/// The sales that may have purchases at this time or before it, those that ended last first.
pub(crate) const LATEST_SALES: &str = r"
    SELECT id, ends_at FROM sales
    WHERE $1::timestamptz IS NULL OR starts_at <= $1
    ORDER BY ends_at DESC
    LIMIT $2
";

/// One sale of each partition. A partition may hold rows of archived sales, too, which are left out by the statements below.
pub(crate) const ALL_PARTITIONS: &str = "SELECT min(id) FROM sales GROUP BY id / $1";

/// With the bare number of the sale the planner may take the primary key, and read the whole sale.
pub(crate) const NEWEST: &str = r"
    SELECT sale_id, attempt_id, purchased_at FROM purchases{of_sale}
    WHERE user_id = $1 AND sale_id + 0 >= $2 AND sale_id + 0 < $3
      AND ($4::timestamptz IS NULL OR (purchased_at, attempt_id) < ($4, $5))
      AND ($6::timestamptz IS NULL OR purchased_at >= $6)
      AND (SELECT true FROM sales WHERE id = sale_id)
    ORDER BY purchased_at DESC, attempt_id DESC
    LIMIT $7
";

pub(crate) const COUNT: &str = r"
    SELECT count(*) FROM purchases{of_sale}
    WHERE user_id = $1 AND sale_id + 0 >= $2 AND sale_id + 0 < $3
      AND (SELECT true FROM sales WHERE id = sale_id)
";

pub(crate) const WITH_LINES: &str = r"
    SELECT p.sale_id, p.attempt_id, p.user_id, p.purchased_at, p.item_nos, p.quantities, p.outcomes
    FROM unnest($1::bigint[], $2::bigint[]) AS t(sale_id, attempt_id)
    CROSS JOIN LATERAL (
        SELECT * FROM purchases{of_sale}
        WHERE sale_id = t.sale_id AND attempt_id = t.attempt_id
        OFFSET 0
    ) AS p
";

/// The templates for [`Partitions`], and their indexes.
const STATEMENTS: [&str; 3] = [NEWEST, COUNT, WITH_LINES];
const NEWEST_AT: usize = 0;
const COUNT_AT: usize = 1;
const WITH_LINES_AT: usize = 2;

/// Reads buyers' purchases.
pub(crate) struct PostgresPurchaseHistory {
    database: Database,
    partitions: Partitions<3>,
    sales_a_step: i64,
}

/// A purchase that was found, without its lines.
#[derive(Debug, Clone, Copy)]
struct Found {
    sale: SaleId,
    key: PurchaseKey,
}

/// The purchases of a step.
struct Step {
    found: Vec<Found>,
    /// Further purchases are older than this; `None` if there are none.
    older_than: Option<DateTime<Utc>>,
}

/// The sales that a step reads.
struct Sales {
    ranges: Vec<SaleRange>,
    /// All purchases since then are in these ranges; `None` if all purchases are.
    complete_since: Option<DateTime<Utc>>,
}

impl PostgresPurchaseHistory {
    pub(crate) fn new(database: Database) -> Self {
        Self { database, partitions: Partitions::new(STATEMENTS), sales_a_step: SALES_A_STEP }
    }

    /// The sales of a step that begins at this position.
    async fn sales(
        &self,
        sale: Option<SaleId>,
        after: Option<PurchaseKey>,
    ) -> Result<Sales, PortError> {
        if let Some(sale) = sale {
            return Ok(Sales { ranges: vec![SaleRange::only(sale)], complete_since: None });
        }
        let until = after.map(|after| after.purchased_at);
        let mut limit = self.sales_a_step;
        loop {
            let query = || {
                let query = sqlx::query_as(LATEST_SALES).bind(until).bind(limit + 1);
                query.fetch_all(self.database.pool())
            };
            let rows: Vec<(i64, DateTime<Utc>)> = self.database.read(WHAT, query).await?;
            let size = usize::try_from(limit).unwrap_or(usize::MAX);
            let complete_since = rows.get(size).map(|(_, ends_at)| *ends_at);
            // So many sales end later than that position that the step would not get past it.
            if until.is_some_and(|until| complete_since.is_some_and(|since| since >= until)) {
                limit *= 2;
                continue;
            }
            let sales = rows.iter().take(size).filter_map(|(id, _)| SaleId::new(*id));
            return Ok(Sales { ranges: SaleRange::partitions_of(sales), complete_since });
        }
    }

    /// The newest purchases behind a position, in one step.
    async fn step(
        &self,
        buyer: &BuyerId,
        sale: Option<SaleId>,
        after: Option<PurchaseKey>,
        limit: i64,
    ) -> Result<Step, PortError> {
        let Sales { ranges, complete_since } = self.sales(sale, after).await?;
        let mut found = Vec::new();
        for range in ranges {
            found.extend(self.newest(buyer, range, (after, complete_since), limit).await?);
        }
        found.sort_unstable_by_key(|found: &Found| Reverse(found.key));
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(Step { found, older_than: complete_since })
    }

    async fn newest(
        &self,
        buyer: &BuyerId,
        range: SaleRange,
        (after, since): (Option<PurchaseKey>, Option<DateTime<Utc>>),
        limit: i64,
    ) -> Result<Vec<Found>, PortError> {
        let newest = self.partitions.read(
            &self.database,
            (Statement::Read, WHAT),
            range.of,
            |mut connection, statements| async move {
                let query = sqlx::query_as(statements.get(NEWEST_AT)).bind(buyer.as_str());
                let query = query.bind(range.first).bind(range.end);
                let query = query.bind(after.map(|after| after.purchased_at));
                let query = query.bind(after.map(|after| after.attempt.get()));
                query.bind(since).bind(limit).fetch_all(&mut *connection).await
            },
        );
        let newest: Vec<(i64, i64, DateTime<Utc>)> = newest.await?;
        let found = newest.into_iter().filter_map(|(sale, attempt, purchased_at)| {
            let key = PurchaseKey { purchased_at, attempt: AttemptId::new(attempt)? };
            Some(Found { sale: SaleId::new(sale)?, key })
        });
        Ok(found.collect())
    }

    /// The number of all purchases.
    async fn count(&self, buyer: &BuyerId, sale: Option<SaleId>) -> Result<i64, PortError> {
        let ranges = if let Some(sale) = sale {
            vec![SaleRange::only(sale)]
        } else {
            let query =
                || sqlx::query_scalar(ALL_PARTITIONS).bind(WIDTH).fetch_all(self.database.pool());
            let sales: Vec<i64> = self.database.read(WHAT, query).await?;
            SaleRange::partitions_of(sales.into_iter().filter_map(SaleId::new))
        };
        let mut total = 0;
        for range in ranges {
            let count = self.partitions.read(
                &self.database,
                (Statement::Read, WHAT),
                range.of,
                |mut connection, statements| async move {
                    let query = sqlx::query_scalar(statements.get(COUNT_AT)).bind(buyer.as_str());
                    query.bind(range.first).bind(range.end).fetch_one(&mut *connection).await
                },
            );
            let count: i64 = count.await?;
            total += count;
        }
        Ok(total)
    }

    /// The purchases with their lines, in the same order.
    async fn with_lines(&self, found: &[Found]) -> Result<Vec<PastPurchase>, PortError> {
        let mut past = Vec::with_capacity(found.len());
        for range in SaleRange::partitions_of(found.iter().map(|found| found.sale)) {
            let here = || {
                let is_here = |found: &&Found| (range.first..range.end).contains(&found.sale.get());
                found.iter().filter(is_here)
            };
            let sales: Arc<[i64]> = here().map(|found| found.sale.get()).collect();
            let attempts: Arc<[i64]> = here().map(|found| found.key.attempt.get()).collect();
            let (sales, attempts) = (&sales, &attempts);
            let rows = self.partitions.read(
                &self.database,
                (Statement::Read, WHAT),
                range.of,
                |mut connection, statements| async move {
                    let query = sqlx::query_as(statements.get(WITH_LINES_AT)).bind(&sales[..]);
                    query.bind(&attempts[..]).fetch_all(&mut *connection).await
                },
            );
            past.extend(past_purchases(rows.await?)?);
        }
        past.sort_by_key(|past| Reverse(PurchaseKey::of(past)));
        Ok(past)
    }
}

#[async_trait]
impl PurchaseHistory for PostgresPurchaseHistory {
    async fn of_buyer(
        &self,
        buyer: &BuyerId,
        sale: Option<SaleId>,
        page: PageRequest,
    ) -> Result<Page<PastPurchase>, PortError> {
        let total = self.count(buyer, sale).await?;
        if page.offset() >= total {
            return Ok(Page { entries: Vec::new(), total });
        }
        let wanted = (page.offset() + i64::from(page.limit)).min(total);
        let (mut found, mut after) = (Vec::<Found>::new(), None);
        loop {
            let missing = wanted - i64::try_from(found.len()).unwrap_or(i64::MAX);
            if missing <= 0 {
                break;
            }
            let step = self.step(buyer, sale, after, missing).await?;
            found.extend(step.found);
            match step.older_than {
                Some(time) => after = Some(before(time)),
                None => break,
            }
        }
        let offset = usize::try_from(page.offset()).unwrap_or(usize::MAX);
        let entries = self.with_lines(found.get(offset..).unwrap_or_default()).await?;
        Ok(Page { entries, total })
    }

    async fn list(
        &self,
        buyer: &BuyerId,
        sale: Option<SaleId>,
        after: Cursor<PurchaseKey>,
    ) -> Result<CursorPage<PastPurchase, PurchaseKey>, PortError> {
        // One more than the limit shows whether there is a next page.
        let step = self.step(buyer, sale, after.entry, i64::from(after.limit) + 1).await?;
        let page = CursorPage::cut(step.found, after.limit, |found| found.key);
        let next = page.next.or(step.older_than.map(before));
        Ok(CursorPage { entries: self.with_lines(&page.entries).await?, next })
    }
}

/// The position behind all purchases at this time, and before all earlier ones.
fn before(time: DateTime<Utc>) -> PurchaseKey {
    PurchaseKey { purchased_at: time, attempt: AttemptId::FIRST }
}

fn past_purchases(rows: Vec<OutcomeRow>) -> Result<Vec<PastPurchase>, PortError> {
    let stored = assembled(rows).map_err(|error: DatabaseError| error.into_port_error(WHAT))?;
    let past = stored.into_iter().map(|stored| PastPurchase {
        sale: stored.sale,
        attempt: stored.attempt,
        outcome: stored.outcome,
    });
    Ok(past.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::buyer;
    use crate::testing::contracts::purchase_history::purchase_history_contract;
    use crate::testing::contracts::{Scene, Terms};
    use crate::testing::servers::PostgresShop;

    purchase_history_contract!(PostgresShop::open().await);

    /// A history of six purchases in four sales of three partitions, whose windows overlap, and their attempts, newest first.
    async fn long_history(shop: &PostgresShop) -> Vec<AttemptId> {
        let mut scenes = Vec::new();
        for number in [1, 150, 151, 250] {
            let before = format!("SELECT setval('sale_ids', {number}, false)");
            shop.execute(&before).await;
            scenes.push(Scene::open(shop, Terms::stocked(3, 9)).await);
        }
        let mut attempts = Vec::new();
        for (place, item) in [(3, 1), (0, 1), (1, 1), (3, 2), (2, 1), (0, 2)] {
            let scene = &scenes[place];
            let attempt = scene.attempt("ann", &[(item, 1)]).await;
            scene.decided(attempt).await;
            attempts.push(attempt);
            let bob = scene.attempt("bob", &[(item, 1)]).await;
            scene.decided(bob).await;
        }
        // One ended between the purchases, one is open for long.
        let end = "UPDATE sales SET ends_at = (SELECT max(purchased_at) + interval '1 microsecond'
                   FROM purchases WHERE sale_id = 150) WHERE id = 150;
                   UPDATE sales SET ends_at = ends_at + interval '1 day' WHERE id = 1";
        shop.execute(end).await;
        attempts.reverse();
        attempts
    }

    fn listed(past: &[PastPurchase]) -> Vec<AttemptId> {
        past.iter().map(|past| past.attempt).collect()
    }

    #[tokio::test]
    async fn a_walk_lists_every_purchase_once_whatever_the_number_of_sales_in_a_step() {
        let shop = PostgresShop::open().await;
        let made = long_history(&shop).await;
        for sales_a_step in [1, 2, 3, 4, 5] {
            let history = PostgresPurchaseHistory::new(shop.database().await);
            let history = PostgresPurchaseHistory { sales_a_step, ..history };

            let (mut seen, mut entry) = (Vec::new(), None);
            loop {
                let cursor = Cursor { entry, limit: 2 };
                let page = history.list(&buyer("ann"), None, cursor).await.unwrap();
                seen.extend(listed(&page.entries));
                entry = page.next;
                if entry.is_none() {
                    break;
                }
            }
            let page = PageRequest { page: 2, limit: 4 };
            let page = history.of_buyer(&buyer("ann"), None, page).await.unwrap();

            assert_eq!(seen, made, "{sales_a_step} sales a step");
            assert_eq!((listed(&page.entries), page.total), (made[4..].to_vec(), 6));
        }
    }

    #[tokio::test]
    async fn a_step_reads_a_bounded_number_of_sales() {
        let shop = PostgresShop::open().await;
        long_history(&shop).await;
        let history = PostgresPurchaseHistory::new(shop.database().await);
        let history = PostgresPurchaseHistory { sales_a_step: 1, ..history };

        let first = history.sales(None, None).await.unwrap();

        assert_eq!(first.ranges.len(), 1);
        assert!(first.complete_since.is_some());
    }
}
