//! Stored outcomes: rows of `purchases`, with their lines.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::domain::checkout::Line;
use crate::domain::ids::{AttemptId, BuyerId, ItemNo, Quantity, SaleId};
use crate::domain::purchase::{LineOutcome, Outcome, SettledLine};
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::row::from_row;

from_row! {
    /// A stored outcome, with its lines by item number.
    #[derive(Debug)]
    pub(crate) struct OutcomeRow {
        sale_id: i64,
        attempt_id: i64,
        user_id: String,
        purchased_at: DateTime<Utc>,
        item_nos: Vec<i32>,
        quantities: Vec<i32>,
        /// A letter for each line.
        outcomes: String,
    }
}

/// Of an archived sale nothing is read, though its rows may still be there.
///
/// A template for [`Partitions`](crate::infrastructure::persistence::partitions::Partitions).
pub(crate) const STORED: &str = r"
    SELECT p.sale_id, p.attempt_id, p.user_id, p.purchased_at, p.item_nos, p.quantities, p.outcomes
    FROM unnest($2::bigint[]) AS t(attempt_id)
    CROSS JOIN LATERAL (
        SELECT * FROM purchases{of_sale}
        WHERE sale_id = $1 AND attempt_id = t.attempt_id AND EXISTS (SELECT FROM sales WHERE id = $1)
        OFFSET 0
    ) AS p
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

/// The outcomes in these rows.
pub(crate) fn assembled(rows: Vec<OutcomeRow>) -> Result<Vec<StoredOutcome>, DatabaseError> {
    let outcomes: Option<Vec<StoredOutcome>> =
        rows.into_iter().map(OutcomeRow::into_stored).collect();
    outcomes.ok_or(DatabaseError::Unreadable("purchases"))
}

impl OutcomeRow {
    fn into_stored(self) -> Option<StoredOutcome> {
        let lines = self.item_nos.iter().zip(&self.quantities).zip(self.outcomes.chars());
        let lines = lines.map(|((item, quantity), letter)| {
            let line = Line { item: ItemNo(*item), quantity: Quantity::new(*quantity)? };
            Some(SettledLine { line, outcome: of_letter(letter)? })
        });
        let outcome = Outcome {
            lines: lines.collect::<Option<_>>()?,
            buyer: BuyerId::parse(&self.user_id).ok()?,
            purchased_at: self.purchased_at,
        };
        let (sale, attempt) = (SaleId::new(self.sale_id)?, AttemptId::new(self.attempt_id)?);
        Some(StoredOutcome { sale, attempt, outcome })
    }
}

const LINE_OUTCOMES: [LineOutcome; 3] =
    [LineOutcome::Sold, LineOutcome::SoldOut, LineOutcome::BuyerLimit];

/// The letter of a line's outcome in `purchases`.
pub(crate) fn letter_of(outcome: LineOutcome) -> char {
    match outcome {
        LineOutcome::Sold => 's',
        LineOutcome::SoldOut => 'o',
        LineOutcome::BuyerLimit => 'l',
    }
}

/// The outcome with this letter.
pub(crate) fn of_letter(letter: char) -> Option<LineOutcome> {
    LINE_OUTCOMES.into_iter().find(|outcome| letter_of(*outcome) == letter)
}

/// The outcome with this name in `purchase_items`.
pub(crate) fn line_outcome(text: &str) -> Option<LineOutcome> {
    LINE_OUTCOMES.into_iter().find(|outcome| outcome.as_str() == text)
}
