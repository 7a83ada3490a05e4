//! Lines of checkouts, from the columns that statements return.

use std::collections::HashMap;

use crate::domain::checkout::Line;
use crate::domain::ids::{ItemNo, Quantity};

/// A line; `None` if the quantity is not positive, which a CHECK prevents.
pub(crate) fn line(item: i32, quantity: i32) -> Option<Line> {
    Some(Line { item: ItemNo(item), quantity: Quantity::new(quantity)? })
}

/// Lines by attempt, in the order of the columns.
pub(crate) fn lines_by_attempt(
    attempts: &[i64],
    items: &[i32],
    quantities: &[i32],
) -> HashMap<i64, Vec<Line>> {
    let mut baskets: HashMap<i64, Vec<Line>> = HashMap::new();
    for ((attempt, item), pieces) in attempts.iter().zip(items).zip(quantities) {
        if let Some(line) = line(*item, *pieces) {
            baskets.entry(*attempt).or_default().push(line);
        }
    }
    baskets
}
