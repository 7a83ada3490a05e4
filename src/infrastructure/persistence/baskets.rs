//! Lines of open checkouts.

use std::collections::HashMap;

use sqlx::PgConnection;

use crate::domain::checkout::Line;
use crate::domain::ids::{ItemNo, Quantity, SaleId};

const BASKETS: &str = r"
    SELECT t.attempt_id, l.item_no, l.quantity
    FROM unnest($2::bigint[]) AS t(attempt_id)
    CROSS JOIN LATERAL (
        SELECT item_no, quantity FROM checkout_items
        WHERE sale_id = $1 AND attempt_id = t.attempt_id
        ORDER BY added_at, item_no
        OFFSET 0
    ) AS l
";

/// Lines by attempt, in the order in which they were first collected.
///
/// Call it in a later statement than the one that locked the buyers: a statement that waited for a lock misses what was
/// committed during the wait.
pub(super) async fn read(
    connection: &mut PgConnection,
    sale: SaleId,
    attempts: &[i64],
) -> Result<HashMap<i64, Vec<Line>>, sqlx::Error> {
    let rows: Vec<(i64, i32, i32)> =
        sqlx::query_as(BASKETS).bind(sale.get()).bind(attempts).fetch_all(connection).await?;
    let mut baskets: HashMap<i64, Vec<Line>> = HashMap::with_capacity(attempts.len());
    for (attempt, item, pieces) in rows {
        // A CHECK keeps quantities positive.
        let Some(quantity) = Quantity::new(pieces) else {
            continue;
        };
        baskets.entry(attempt).or_default().push(Line { item: ItemNo(item), quantity });
    }
    Ok(baskets)
}
