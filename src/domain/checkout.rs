//! The lines that a buyer has collected, and the limit check for more. Collecting reserves nothing.

use super::ids::{ItemNo, Quantity};

/// One item of a checkout, with its quantity. A line sells whole or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The item.
    pub item: ItemNo,
    /// Its pieces.
    pub quantity: Quantity,
}

/// A buyer's collected and bought pieces in a sale.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuyerTotals {
    /// Lines of the open checkout, in the order in which they were first collected.
    pub lines: Vec<Line>,
    /// Pieces bought so far in this sale.
    pub bought: i32,
}

/// The pieces that a buyer has in a sale.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BuyerPieces {
    /// Pieces bought so far.
    pub bought: i32,
    /// Pieces in the open checkout.
    pub collected: i32,
}

/// The effect of collecting on the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Lines were added; the existing lines are unchanged.
    Added,
    /// A line has another quantity, possibly a smaller one, or was removed.
    Replaced,
}

/// The buyer's limit would be exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverLimit;

impl BuyerTotals {
    /// Sets the quantities of these items, each named once. A repeated call replaces, so a retry changes nothing.
    ///
    /// Fails without a change if collected and bought pieces together would exceed `limit`.
    pub fn collect(&mut self, wanted: &[Line], limit: i32) -> Result<Change, OverLimit> {
        if !self.fits(wanted, limit) {
            return Err(OverLimit);
        }
        let replaced = wanted.iter().filter(|line| self.put(**line) == Change::Replaced).count();
        Ok(if replaced == 0 { Change::Added } else { Change::Replaced })
    }

    /// Whether the buyer stays within the limit if these lines replace those of the same items.
    #[must_use]
    pub fn fits(&self, wanted: &[Line], limit: i32) -> bool {
        let others =
            self.lines.iter().filter(|line| wanted.iter().all(|other| other.item != line.item));
        let pieces = others.chain(wanted).map(|line| i64::from(line.quantity.get()));
        pieces.sum::<i64>() + i64::from(self.bought) <= i64::from(limit)
    }

    /// Sets one line without checking the limit.
    pub fn put(&mut self, wanted: Line) -> Change {
        if let Some(line) = self.lines.iter_mut().find(|line| line.item == wanted.item) {
            line.quantity = wanted.quantity;
            return Change::Replaced;
        }
        self.lines.push(wanted);
        Change::Added
    }

    /// Removes an item, if it is in the checkout.
    pub fn remove(&mut self, item: ItemNo) {
        self.lines.retain(|line| line.item != item);
    }

    /// Whether the pieces reach half of the limit, from where on the hint cache keeps the totals.
    #[must_use]
    pub fn is_near_limit(&self, limit: i32) -> bool {
        i64::from(self.collected()) + i64::from(self.bought) >= i64::from(limit) / 2
    }

    /// Bought and collected pieces.
    #[must_use]
    pub fn pieces(&self) -> BuyerPieces {
        BuyerPieces { bought: self.bought, collected: self.collected() }
    }

    /// Pieces in the open checkout.
    #[must_use]
    pub fn collected(&self) -> i32 {
        self.lines.iter().map(|line| line.quantity.get()).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(item: i32, pieces: i32) -> Line {
        Line { item: ItemNo(item), quantity: Quantity::new(pieces).unwrap() }
    }

    #[test]
    fn a_second_request_sets_the_quantity_and_a_retry_changes_nothing() {
        let mut totals = BuyerTotals::default();

        totals.collect(&[line(1, 4)], 10).unwrap();
        totals.collect(&[line(1, 6)], 10).unwrap();
        totals.collect(&[line(1, 6)], 10).unwrap();

        assert_eq!(totals.lines, vec![line(1, 6)]);
    }

    #[test]
    fn beyond_the_limit_the_checkout_stays_as_it_was() {
        let mut totals = BuyerTotals { lines: vec![line(1, 4)], bought: 5 };
        let before = totals.clone();

        assert_eq!(totals.collect(&[line(2, 2)], 10), Err(OverLimit));

        assert_eq!(totals, before);
    }

    #[test]
    fn a_line_can_be_made_smaller_at_the_limit() {
        let mut totals = BuyerTotals { lines: vec![line(1, 10)], bought: 0 };

        assert_eq!(totals.collect(&[line(1, 3)], 10), Ok(Change::Replaced));

        assert_eq!(totals.collected(), 3);
    }

    #[test]
    fn several_lines_fit_together_or_none_is_taken() {
        let mut totals = BuyerTotals { lines: vec![line(1, 4), line(2, 4)], bought: 0 };
        let before = totals.clone();

        assert_eq!(totals.collect(&[line(1, 5), line(3, 2)], 10), Err(OverLimit));
        assert_eq!(totals, before);
        assert_eq!(totals.collect(&[line(1, 3), line(3, 3)], 10), Ok(Change::Replaced));

        assert_eq!(totals.lines, [line(1, 3), line(2, 4), line(3, 3)]);
    }

    #[test]
    fn a_removed_item_is_gone_and_a_missing_one_changes_nothing() {
        let mut totals = BuyerTotals { lines: vec![line(1, 4), line(2, 4)], bought: 0 };

        totals.remove(ItemNo(1));
        totals.remove(ItemNo(7));

        assert_eq!(totals.lines, [line(2, 4)]);
    }

    #[test]
    fn half_of_the_limit_is_near_it() {
        let totals = BuyerTotals { lines: vec![line(1, 3)], bought: 1 };

        assert_eq!([8, 9, 10].map(|limit| totals.is_near_limit(limit)), [true, true, false]);
    }

    proptest! {
        #[test]
        fn collected_and_bought_never_pass_the_limit(
            bought in 0..=10_i32, wishes in prop::collection::vec((1..5_i32, 1..12_i32), 0..40)
        ) {
            let mut totals = BuyerTotals { lines: vec![], bought };
            for (item, pieces) in wishes {
                let _ = totals.collect(&[line(item, pieces)], 10);
                prop_assert!(totals.collected() + bought <= 10);
            }
        }
    }
}
