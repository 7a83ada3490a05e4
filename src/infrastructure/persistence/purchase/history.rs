//! The purchase history in PostgreSQL.

use async_trait::async_trait;
use sqlx::{PgConnection, Postgres, QueryBuilder};

use super::outcomes::{OutcomeRow, assembled};
use crate::application::ports::{
    Cursor, CursorPage, Page, PageRequest, PastPurchase, PortError, PurchaseHistory, PurchaseKey,
};
use crate::domain::ids::{BuyerId, SaleId};
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::pool::tx::Options;

// Between these two parts go the conditions, the order and the limits.
const OF_BUYER: &str = r"
    SELECT p.sale_id, p.attempt_id, p.user_id, p.purchased_at, l.item_no, l.quantity, l.outcome
    FROM (
        SELECT sale_id, attempt_id, user_id, purchased_at FROM purchases
        WHERE user_id = ";
const WITH_LINES: &str = r"
    ) AS p
    CROSS JOIN LATERAL (
        SELECT item_no, quantity, outcome FROM purchase_items
        WHERE sale_id = p.sale_id AND attempt_id = p.attempt_id
        OFFSET 0
    ) AS l
    ORDER BY p.purchased_at DESC, p.attempt_id DESC, l.item_no
";
const NEWEST_FIRST: &str = " ORDER BY purchased_at DESC, attempt_id DESC LIMIT ";

const COUNT: &str = r"
    SELECT count(*) FROM purchases
    WHERE user_id = $1 AND ($2::bigint IS NULL OR sale_id = $2)
";

/// Reads buyers' purchases.
pub(crate) struct PostgresPurchaseHistory {
    database: Database,
}

impl PostgresPurchaseHistory {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
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
        let what = "the buyer's purchases";
        let (total, rows) = self
            .database
            .transaction(Options::SNAPSHOT, |mut tx| async move {
                let rows = read(&mut tx, buyer, sale, page);
                let rows = self.database.time(Statement::Read, rows).await?;
                Ok((tx, rows))
            })
            .await
            .map_err(|error| error.into_port_error(what))?;
        Ok(Page { entries: past(rows, what)?, total })
    }

    async fn list(
        &self,
        buyer: &BuyerId,
        sale: Option<SaleId>,
        after: Cursor<PurchaseKey>,
    ) -> Result<CursorPage<PastPurchase, PurchaseKey>, PortError> {
        let what = "the buyer's purchases";
        let read = || async {
            let mut query = list(buyer, sale, after);
            query.build_query_as().fetch_all(self.database.pool()).await
        };
        let rows = self.database.read(what, read).await?;
        Ok(CursorPage::cut(past(rows, what)?, after.limit, PurchaseKey::of))
    }
}

fn past(rows: Vec<OutcomeRow>, what: &'static str) -> Result<Vec<PastPurchase>, PortError> {
    let stored = assembled(rows).map_err(|error| error.into_port_error(what))?;
    let past = stored.into_iter().map(|stored| PastPurchase {
        sale: stored.sale,
        attempt: stored.attempt,
        outcome: stored.outcome,
    });
    Ok(past.collect())
}

fn of_buyer(buyer: &BuyerId, sale: Option<SaleId>) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(OF_BUYER);
    query.push_bind(buyer.as_str().to_owned());
    if let Some(sale) = sale {
        query.push(" AND sale_id = ").push_bind(sale.get());
    }
    query
}

/// Selects one more than the limit, which shows whether there is a next page.
fn list(
    buyer: &BuyerId,
    sale: Option<SaleId>,
    after: Cursor<PurchaseKey>,
) -> QueryBuilder<Postgres> {
    let mut query = of_buyer(buyer, sale);
    if let Some(PurchaseKey { purchased_at, attempt }) = after.entry {
        query.push(" AND (purchased_at, attempt_id) < (").push_bind(purchased_at);
        query.push(", ").push_bind(attempt.get()).push(")");
    }
    query.push(NEWEST_FIRST).push_bind(i64::from(after.limit) + 1).push(WITH_LINES);
    query
}

fn page_of(buyer: &BuyerId, sale: Option<SaleId>, page: PageRequest) -> QueryBuilder<Postgres> {
    let mut query = of_buyer(buyer, sale);
    query.push(NEWEST_FIRST).push_bind(i64::from(page.limit));
    query.push(" OFFSET ").push_bind(page.offset()).push(WITH_LINES);
    query
}

async fn read(
    connection: &mut PgConnection,
    buyer: &BuyerId,
    sale: Option<SaleId>,
    page: PageRequest,
) -> Result<(i64, Vec<OutcomeRow>), sqlx::Error> {
    let total = sqlx::query_scalar(COUNT)
        .bind(buyer.as_str())
        .bind(sale.map(SaleId::get))
        .fetch_one(&mut *connection)
        .await?;
    let rows = page_of(buyer, sale, page).build_query_as().fetch_all(connection).await?;
    Ok((total, rows))
}

#[cfg(test)]
mod tests {
    use crate::testing::contracts::purchase_history::purchase_history_contract;
    use crate::testing::servers::PostgresShop;

    purchase_history_contract!(PostgresShop::open().await);
}
