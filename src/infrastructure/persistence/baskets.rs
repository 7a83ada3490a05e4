//! Lines of open checkouts, as statements answer them: column by column.

use std::collections::HashMap;

use crate::domain::checkout::Line;
use crate::domain::ids::{ItemNo, Quantity};

/// Lines by attempt, in the order in which they come.
pub(super) fn lines_by_attempt(
    attempts: &[i64],
    items: &[i32],
    quantities: &[i32],
) -> HashMap<i64, Vec<Line>> {
    let mut baskets: HashMap<i64, Vec<Line>> = HashMap::new();
    for ((attempt, item), pieces) in attempts.iter().zip(items).zip(quantities) {
        // A CHECK keeps quantities positive.
        let Some(quantity) = Quantity::new(*pieces) else {
            continue;
        };
        baskets.entry(*attempt).or_default().push(Line { item: ItemNo(*item), quantity });
    }
    baskets
}
