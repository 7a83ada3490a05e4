//! What a buyer has collected, and whether one more item fits. Nothing here reserves anything.

use super::ids::{ItemNo, Quantity};

/// One item of a checkout, with its quantity. It sells whole or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The item.
    pub item: ItemNo,
    /// Its pieces.
    pub quantity: Quantity,
}

/// Where a buyer stands in a sale.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Lines of the open checkout, in the order in which they were first collected.
    pub lines: Vec<Line>,
    /// Pieces bought so far in this sale.
    pub bought: i32,
}

/// What collecting did to the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// There are more lines, and those that were there are as they were.
    Added,
    /// A line has another quantity now, which may be smaller than before, or is gone.
    Replaced,
}

/// The limit stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverLimit;

impl Standing {
    /// Sets the quantities of these items, each named once: asking again replaces, so that a retry changes nothing.
    ///
    /// Refuses, and leaves everything as it was, when collected and bought pieces together would pass `limit`.
    pub fn collect(&mut self, wanted: &[Line], limit: i32) -> Result<Change, OverLimit> {
        if !self.fits(wanted, limit) {
            return Err(OverLimit);
        }
        let replaced = wanted.iter().filter(|line| self.put(**line) == Change::Replaced).count();
        Ok(if replaced == 0 { Change::Added } else { Change::Replaced })
    }

    /// Whether these lines, in place of those of the same items, leave the buyer within the limit.
    #[must_use]
    pub fn fits(&self, wanted: &[Line], limit: i32) -> bool {
        let others =
            self.lines.iter().filter(|line| wanted.iter().all(|other| other.item != line.item));
        let pieces = others.chain(wanted).map(|line| i64::from(line.quantity.get()));
        pieces.sum::<i64>() + i64::from(self.bought) <= i64::from(limit)
    }

    /// Sets one line, whatever the limit.
    pub fn put(&mut self, wanted: Line) -> Change {
        if let Some(line) = self.lines.iter_mut().find(|line| line.item == wanted.item) {
            line.quantity = wanted.quantity;
            return Change::Replaced;
        }
        self.lines.push(wanted);
        Change::Added
    }

    /// Takes an item out, if it is there.
    pub fn remove(&mut self, item: ItemNo) {
        self.lines.retain(|line| line.item != item);
    }

    /// Whether it is so far up the way to the limit that somebody should remember it: half of it.
    #[must_use]
    pub fn is_near(&self, limit: i32) -> bool {
        i64::from(self.collected()) + i64::from(self.bought) >= i64::from(limit) / 2
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
    fn asking_again_sets_the_quantity_and_a_retry_changes_nothing() {
        let mut standing = Standing::default();

        standing.collect(&[line(1, 4)], 10).unwrap();
        standing.collect(&[line(1, 6)], 10).unwrap();
        standing.collect(&[line(1, 6)], 10).unwrap();

        assert_eq!(standing.lines, vec![line(1, 6)]);
    }

    #[test]
    fn beyond_the_limit_the_checkout_stays_as_it_was() {
        let mut standing = Standing { lines: vec![line(1, 4)], bought: 5 };
        let before = standing.clone();

        assert_eq!(standing.collect(&[line(2, 2)], 10), Err(OverLimit));

        assert_eq!(standing, before);
    }

    #[test]
    fn a_line_can_be_made_smaller_at_the_limit() {
        let mut standing = Standing { lines: vec![line(1, 10)], bought: 0 };

        assert_eq!(standing.collect(&[line(1, 3)], 10), Ok(Change::Replaced));

        assert_eq!(standing.collected(), 3);
    }

    #[test]
    fn several_lines_fit_together_or_none_is_taken() {
        let mut standing = Standing { lines: vec![line(1, 4), line(2, 4)], bought: 0 };
        let before = standing.clone();

        assert_eq!(standing.collect(&[line(1, 5), line(3, 2)], 10), Err(OverLimit));
        assert_eq!(standing, before);
        assert_eq!(standing.collect(&[line(1, 3), line(3, 3)], 10), Ok(Change::Replaced));

        assert_eq!(standing.lines, [line(1, 3), line(2, 4), line(3, 3)]);
    }

    #[test]
    fn what_is_taken_out_is_gone_and_what_is_not_there_changes_nothing() {
        let mut standing = Standing { lines: vec![line(1, 4), line(2, 4)], bought: 0 };

        standing.remove(ItemNo(1));
        standing.remove(ItemNo(7));

        assert_eq!(standing.lines, [line(2, 4)]);
    }

    #[test]
    fn half_of_the_limit_is_near_it() {
        let standing = Standing { lines: vec![line(1, 3)], bought: 1 };

        assert_eq!([8, 9, 10].map(|limit| standing.is_near(limit)), [true, true, false]);
    }

    proptest! {
        #[test]
        fn collected_and_bought_never_pass_the_limit(
            bought in 0..=10_i32, wishes in prop::collection::vec((1..5_i32, 1..12_i32), 0..40)
        ) {
            let mut standing = Standing { lines: vec![], bought };
            for (item, pieces) in wishes {
                let _ = standing.collect(&[line(item, pieces)], 10);
                prop_assert!(standing.collected() + bought <= 10);
            }
        }
    }
}
