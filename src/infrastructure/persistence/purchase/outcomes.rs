//! Stored outcomes, assembled from rows of `purchases` and their lines.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::domain::checkout::Line;
use crate::domain::ids::{AttemptId, BuyerId, ItemNo, Quantity, SaleId};
use crate::domain::purchase::{LineOutcome, Outcome, SettledLine};
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::row::from_row;

from_row! {
    /// One line of a stored outcome.
    #[derive(Debug)]
    pub(crate) struct OutcomeRow {
        pub(crate) sale_id: i64,
        pub(crate) attempt_id: i64,
        pub(crate) user_id: String,
        pub(crate) purchased_at: DateTime<Utc>,
        pub(crate) item_no: i32,
        pub(crate) quantity: i32,
        pub(crate) outcome: String,
    }
}

/// Of an archived sale nothing is read, though its rows may still be there.
///
/// A template for [`Partitions`](crate::infrastructure::persistence::partitions::Partitions).
pub(crate) const STORED: &str = r"
    SELECT p.sale_id, p.attempt_id, p.user_id, p.purchased_at, l.item_no, l.quantity, l.outcome
    FROM unnest($2::bigint[]) AS t(attempt_id)
    CROSS JOIN LATERAL (
        SELECT * FROM purchases{of_sale}
        WHERE sale_id = $1 AND attempt_id = t.attempt_id AND EXISTS (SELECT FROM sales WHERE id = $1)
        OFFSET 0
    ) AS p
    CROSS JOIN LATERAL (
        SELECT item_no, quantity, outcome FROM purchase_items{of_sale}
        WHERE sale_id = $1 AND attempt_id = t.attempt_id
        ORDER BY item_no
        OFFSET 0
    ) AS l
";

/// The outcomes of these attempts, in the attempts' order, without attempts that have none. `statement` is made from [`STORED`].
pub(crate) async fn stored(
    connection: &mut PgConnection,
    statement: AssertSqlSafe<Arc<str>>,
    sale: SaleId,
    attempts: &[i64],
) -> Result<Vec<StoredOutcome>, sqlx::Error> {
    let query = sqlx::query_as(statement).bind(sale.get()).bind(attempts);
    let rows: Vec<OutcomeRow> = query.fetch_all(connection).await?;
    assembled(rows).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// An outcome, with its attempt.
pub(crate) struct StoredOutcome {
    pub(crate) sale: SaleId,
    pub(crate) attempt: AttemptId,
    pub(crate) outcome: Outcome,
}

/// Assembles outcomes from their lines; the lines of an attempt must be adjacent.
pub(crate) fn assembled(rows: Vec<OutcomeRow>) -> Result<Vec<StoredOutcome>, DatabaseError> {
    let mut outcomes: Vec<StoredOutcome> = Vec::new();
    for row in rows {
        let unreadable = || DatabaseError::Unreadable("purchases");
        let attempt = AttemptId::new(row.attempt_id).ok_or_else(unreadable)?;
        let sale = SaleId::new(row.sale_id).ok_or_else(unreadable)?;
        let line = SettledLine {
            line: Line {
                item: ItemNo(row.item_no),
                quantity: Quantity::new(row.quantity).ok_or_else(unreadable)?,
            },
            outcome: line_outcome(&row.outcome).ok_or_else(unreadable)?,
        };
        match outcomes.last_mut() {
            Some(last) if last.attempt == attempt && last.sale == sale => {
                last.outcome.lines.push(line);
            }
            _ => {
                let buyer = BuyerId::parse(&row.user_id).map_err(|_| unreadable())?;
                let outcome = Outcome { buyer, purchased_at: row.purchased_at, lines: vec![line] };
                outcomes.push(StoredOutcome { sale, attempt, outcome });
            }
        }
    }
    Ok(outcomes)
}

/// The outcome with this name in the database.
pub(crate) fn line_outcome(text: &str) -> Option<LineOutcome> {
    [LineOutcome::Sold, LineOutcome::SoldOut, LineOutcome::BuyerLimit]
        .into_iter()
        .find(|outcome| outcome.as_str() == text)
}
