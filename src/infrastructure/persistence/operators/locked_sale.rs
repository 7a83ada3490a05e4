//! A sale that a change has locked.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::domain::ids::SaleId;
use crate::domain::sale::Sale;
use crate::infrastructure::persistence::sale::store::{SaleRow, sale_of};

const LOCK_SALE: &str = r"
    SELECT id, name, schedule, starts_at, ends_at, buyer_limit, items, generation
    FROM sales
    WHERE id = $1
    FOR UPDATE
";

/// By a statement of its own: the lock may have been waited for.
const NOW: &str = r"
    SELECT cancelled_at IS NOT NULL, clock_timestamp() FROM sales WHERE id = $1
";

/// Locks a sale's row. Returns the sale, whether it was cancelled, and the time once it is locked.
pub(super) async fn locked_sale(
    connection: &mut PgConnection,
    id: SaleId,
) -> Result<Option<(Sale, bool, DateTime<Utc>)>, sqlx::Error> {
    let row: Option<SaleRow> =
        sqlx::query_as(LOCK_SALE).bind(id.get()).fetch_optional(&mut *connection).await?;
    let Some(row) = row else { return Ok(None) };
    let (is_cancelled, now) = sqlx::query_as(NOW).bind(id.get()).fetch_one(connection).await?;
    Ok(Some((readable(row)?, is_cancelled, now)))
}

const NEXT_GENERATION: &str = r"
    UPDATE sales SET generation = generation + 1 WHERE id = $1
";

/// Gives a locked sale the next generation: instances drop what they know of its sold-out items.
pub(super) async fn raise_generation(
    connection: &mut PgConnection,
    id: SaleId,
) -> Result<(), sqlx::Error> {
    sqlx::query(NEXT_GENERATION).bind(id.get()).execute(connection).await?;
    Ok(())
}

/// The sale of a row.
pub(super) fn readable(row: SaleRow) -> Result<Sale, sqlx::Error> {
    sale_of(row).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
