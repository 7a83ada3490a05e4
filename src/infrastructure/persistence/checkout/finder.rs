//! Finds a checkout by its attempt, open or purchased.

use super::batch::CollectBatch;
use crate::application::ports::{FoundCheckout, PortError};
use crate::domain::ids::{AttemptId, BuyerId, SaleId};
use crate::infrastructure::persistence::batch::lines::line;
use crate::infrastructure::persistence::batch::transaction::BatchTransaction;
use crate::infrastructure::persistence::partitions::Partitions;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::row::from_row;

/// Reads checkouts.
pub(crate) struct CheckoutFinder {
    database: Database,
    partitions: Partitions<1>,
}

from_row! {
    /// An attempt with its lines.
    #[derive(Debug)]
    struct FoundRow {
        user_id: String,
        purchased: bool,
        items: Vec<i32>,
        quantities: Vec<i32>,
    }
}

pub(crate) const FIND: &str = r"
    SELECT a.user_id, l.items, l.quantities,
           EXISTS (SELECT FROM purchases{of_sale} WHERE sale_id = $1 AND attempt_id = $2) AS purchased
    FROM checkout_attempts{of_sale} AS a
    CROSS JOIN (
        SELECT coalesce(array_agg(item_no ORDER BY added_at, item_no), '{}') AS items,
               coalesce(array_agg(quantity ORDER BY added_at, item_no), '{}') AS quantities
        FROM checkout_items{of_sale}
        WHERE sale_id = $1 AND attempt_id = $2
    ) AS l
    WHERE a.sale_id = $1 AND a.id = $2 AND EXISTS (SELECT FROM sales WHERE id = $1)
";

impl CheckoutFinder {
    pub(crate) fn new(database: Database) -> Self {
        Self { database, partitions: Partitions::new([FIND]) }
    }

    /// The checkout behind an attempt.
    pub(crate) async fn find(
        &self,
        sale: SaleId,
        attempt: AttemptId,
    ) -> Result<Option<FoundCheckout>, PortError> {
        let what = CollectBatch::WHAT;
        let statement = (Statement::Read, what);
        let found = self.partitions.read(
            &self.database,
            statement,
            sale,
            |mut connection, statements| async move {
                let query = sqlx::query_as(statements.get(0)).bind(sale.get()).bind(attempt.get());
                query.fetch_optional(&mut *connection).await
            },
        );
        let found: Option<FoundRow> = found.await?;
        let Some(FoundRow { user_id, purchased, items, quantities }) = found else {
            return Ok(None);
        };
        let lines =
            items.into_iter().zip(quantities).filter_map(|(item, pieces)| line(item, pieces));
        let buyer =
            BuyerId::parse(&user_id).map_err(|_| DatabaseError::Unreadable("checkout_attempts"));
        let buyer = buyer.map_err(|error| error.into_port_error(what))?;
        Ok(Some(FoundCheckout { buyer, lines: lines.collect(), purchased }))
    }
}
