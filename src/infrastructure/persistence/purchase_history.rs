//! What buyers bought, read from PostgreSQL.

use async_trait::async_trait;
use sqlx::PgConnection;

use super::database::Database;
use super::metrics::Statement;
use super::outcomes::{OutcomeRow, gathered};
use super::transaction::Options;
use crate::application::ports::{Page, PageRequest, PastPurchase, PortError, PurchaseHistory};
use crate::domain::ids::{BuyerId, SaleId};

const PAGE: &str = r"
    SELECT p.sale_id, p.attempt_id, p.user_id, p.purchased_at, l.item_no, l.quantity, l.outcome
    FROM (
        SELECT sale_id, attempt_id, user_id, purchased_at FROM purchases
        WHERE user_id = $1 AND ($2::bigint IS NULL OR sale_id = $2)
        ORDER BY purchased_at DESC, attempt_id DESC
        LIMIT $3 OFFSET $4
    ) AS p
    CROSS JOIN LATERAL (
        SELECT item_no, quantity, outcome FROM purchase_items
        WHERE sale_id = p.sale_id AND attempt_id = p.attempt_id
        OFFSET 0
    ) AS l
    ORDER BY p.purchased_at DESC, p.attempt_id DESC, l.item_no
";

const COUNT: &str = r"
    SELECT count(*) FROM purchases
    WHERE user_id = $1 AND ($2::bigint IS NULL OR sale_id = $2)
";

/// Reads histories.
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
        let stored = gathered(rows).map_err(|error| error.into_port_error(what))?;
        let entries = stored.into_iter().map(|stored| PastPurchase {
            sale: stored.sale,
            attempt: stored.attempt,
            outcome: stored.outcome,
        });
        Ok(Page { entries: entries.collect(), total })
    }
}

async fn read(
    connection: &mut PgConnection,
    buyer: &BuyerId,
    sale: Option<SaleId>,
    page: PageRequest,
) -> Result<(i64, Vec<OutcomeRow>), sqlx::Error> {
    let sale = sale.map(SaleId::get);
    let total = sqlx::query_scalar(COUNT)
        .bind(buyer.as_str())
        .bind(sale)
        .fetch_one(&mut *connection)
        .await?;
    let rows = sqlx::query_as(PAGE)
        .bind(buyer.as_str())
        .bind(sale)
        .bind(i64::from(page.limit))
        .bind(page.offset())
        .fetch_all(connection)
        .await?;
    Ok((total, rows))
}

#[cfg(test)]
mod tests {
    use crate::testing::contracts::purchase_history::purchase_history_contract;
    use crate::testing::servers::PostgresShop;

    purchase_history_contract!(PostgresShop::open().await);
}
