//! The pieces that buyers have collected and bought, for `verify`.

use async_trait::async_trait;

use crate::application::ports::{BuyerTotalsReader, PortError};
use crate::domain::ids::{BuyerId, SaleId};
use crate::infrastructure::persistence::pool::database::Database;

/// Maximum number of buyers that one statement reads.
const CHUNK: usize = 10_000;

const COUNTED: &str = r"
    SELECT coalesce((
        SELECT b.bought + coalesce((
            SELECT sum(c.quantity) FROM checkout_items AS c
            WHERE c.sale_id = $1 AND c.attempt_id = b.open_attempt
        ), 0)
        FROM buyers AS b
        WHERE b.sale_id = $1 AND b.user_id = t.user_id
    ), 0)::bigint
    FROM unnest($2::text[]) WITH ORDINALITY AS t(user_id, place)
    ORDER BY t.place
";

/// Reads buyers' totals.
pub(crate) struct PostgresBuyerTotalsReader {
    database: Database,
}

impl PostgresBuyerTotalsReader {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }
}

#[async_trait]
impl BuyerTotalsReader for PostgresBuyerTotalsReader {
    async fn committed_pieces(
        &self,
        sale: SaleId,
        buyers: &[BuyerId],
    ) -> Result<Vec<i64>, PortError> {
        let mut counted = Vec::with_capacity(buyers.len());
        for chunk in buyers.chunks(CHUNK) {
            let users: Vec<&str> = chunk.iter().map(BuyerId::as_str).collect();
            let query = || {
                sqlx::query_scalar(COUNTED)
                    .bind(sale.get())
                    .bind(&users)
                    .fetch_all(self.database.pool())
            };
            counted.extend(self.database.read::<Vec<i64>, _>("the buyers' totals", query).await?);
        }
        Ok(counted)
    }
}
