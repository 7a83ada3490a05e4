//! Lines of checkouts: from the columns that statements return, and how many of them a batch may have.

use std::collections::HashMap;

use crate::domain::checkout::Line;
use crate::domain::ids::{ItemNo, Quantity};
use crate::domain::sale::MAX_BUYER_LIMIT;

/// Lines of a batch. Reading and writing so many takes PostgreSQL about a tenth of a second.
const LINES: usize = 8_192;
/// Lines that each request may have, however large its batch is.
const LINES_AT_LEAST: usize = 32;
/// Requests in a batch of long checkouts. However long they are, it has no more lines than another batch.
pub(crate) const LONG_BATCH: usize = LINES / MAX_BUYER_LIMIT as usize;

/// Lines that each of so many requests in a batch may have. A single checkout never has more than that of a long batch.
pub(crate) fn lines_each(requests: usize) -> usize {
    (LINES / requests.max(1)).max(LINES_AT_LEAST)
}

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

/// Lines of an attempt to read, so that one with more than `lines_each` shows.
pub(crate) fn limit(lines_each: usize) -> i64 {
    i64::try_from(lines_each).unwrap_or(i64::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_bounded_by_its_lines_and_a_long_batch_takes_every_checkout() {
        for requests in 1..=LINES / LINES_AT_LEAST {
            assert!(requests * lines_each(requests) <= LINES, "{requests}");
        }
        let longest = usize::try_from(MAX_BUYER_LIMIT).unwrap();
        assert!(LONG_BATCH > 1 && lines_each(LONG_BATCH) >= longest);
        assert_eq!(lines_each(10_000), LINES_AT_LEAST);
    }
}
