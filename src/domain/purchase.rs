//! The outcome of a purchase, which is stored with it and returned to every repeat.

use chrono::{DateTime, Utc};

use super::checkout::Line;
use super::ids::BuyerId;

/// The outcome of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LineOutcome {
    /// It was sold whole.
    Sold,
    /// Too few pieces were left.
    SoldOut,
    /// Only the buyer's limit prevented the sale.
    BuyerLimit,
}

impl LineOutcome {
    /// The name in the API and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sold => "sold",
            Self::SoldOut => "sold_out",
            Self::BuyerLimit => "buyer_limit",
        }
    }
}

/// A line with its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettledLine {
    /// The line.
    pub line: Line,
    /// Its outcome.
    pub outcome: LineOutcome,
}

/// The outcome of a purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The buyer.
    pub buyer: BuyerId,
    /// When it was decided, by the database's clock.
    pub purchased_at: DateTime<Utc>,
    /// All lines, by item number.
    pub lines: Vec<SettledLine>,
}

/// An outcome in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// At least one line was bought.
    Bought,
    /// Nothing was bought, and not only because of the limit.
    NothingLeft,
    /// Nothing was bought, only because of the limit.
    LimitReached,
}

impl Outcome {
    /// Pieces bought.
    #[must_use]
    pub fn total_purchased(&self) -> i32 {
        self.sold().map(|settled| settled.line.quantity.get()).sum()
    }

    /// Lines that were bought.
    pub fn sold(&self) -> impl Iterator<Item = &SettledLine> {
        self.lines.iter().filter(|settled| settled.outcome == LineOutcome::Sold)
    }

    /// Lines that were not bought.
    pub fn failed(&self) -> impl Iterator<Item = &SettledLine> {
        self.lines.iter().filter(|settled| settled.outcome != LineOutcome::Sold)
    }

    /// The outcome in one word.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.sold().next().is_some() {
            Verdict::Bought
        } else if self.lines.iter().all(|settled| settled.outcome == LineOutcome::BuyerLimit) {
            Verdict::LimitReached
        } else {
            Verdict::NothingLeft
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{ItemNo, Quantity};

    fn outcome(line_outcomes: &[LineOutcome]) -> Outcome {
        let lines = line_outcomes.iter().zip(1..).map(|(outcome, item)| SettledLine {
            line: Line { item: ItemNo(item), quantity: Quantity::new(item).unwrap() },
            outcome: *outcome,
        });
        Outcome {
            buyer: BuyerId::parse("ann").unwrap(),
            purchased_at: DateTime::UNIX_EPOCH,
            lines: lines.collect(),
        }
    }

    #[test]
    fn one_sold_line_makes_the_verdict_bought() {
        let outcome = outcome(&[LineOutcome::SoldOut, LineOutcome::Sold, LineOutcome::BuyerLimit]);

        assert_eq!(outcome.verdict(), Verdict::Bought);
        assert_eq!(outcome.total_purchased(), 2);
        assert_eq!(outcome.failed().count(), 2);
    }

    #[test]
    fn the_verdict_names_the_limit_only_if_no_line_sold_out() {
        assert_eq!(
            outcome(&[LineOutcome::BuyerLimit, LineOutcome::BuyerLimit]).verdict(),
            Verdict::LimitReached
        );
        assert_eq!(
            outcome(&[LineOutcome::BuyerLimit, LineOutcome::SoldOut]).verdict(),
            Verdict::NothingLeft
        );
    }
}
