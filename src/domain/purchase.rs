//! The outcome of a purchase: what is stored with it and told again to everyone who repeats it.

use chrono::{DateTime, Utc};

use super::checkout::Line;
use super::ids::BuyerId;

/// What became of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It was sold, whole.
    Sold,
    /// There were not enough pieces left.
    SoldOut,
    /// The buyer's limit stood in the way, and nothing else.
    BuyerLimit,
}

impl Fate {
    /// The word that the contract and the database use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sold => "sold",
            Self::SoldOut => "sold_out",
            Self::BuyerLimit => "buyer_limit",
        }
    }
}

/// A line with what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettledLine {
    /// The line.
    pub line: Line,
    /// What became of it.
    pub fate: Fate,
}

/// What a purchase came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Whose checkout it was.
    pub buyer: BuyerId,
    /// When it was decided, by the database's clock.
    pub purchased_at: DateTime<Utc>,
    /// All lines, by item number.
    pub lines: Vec<SettledLine>,
}

/// The answer in one word.
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
        self.lines.iter().filter(|settled| settled.fate == Fate::Sold)
    }

    /// Lines that were not.
    pub fn failed(&self) -> impl Iterator<Item = &SettledLine> {
        self.lines.iter().filter(|settled| settled.fate != Fate::Sold)
    }

    /// The answer in one word.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.sold().next().is_some() {
            Verdict::Bought
        } else if self.lines.iter().all(|settled| settled.fate == Fate::BuyerLimit) {
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

    fn outcome(fates: &[Fate]) -> Outcome {
        let lines = fates.iter().zip(1..).map(|(fate, item)| SettledLine {
            line: Line { item: ItemNo(item), quantity: Quantity::new(item).unwrap() },
            fate: *fate,
        });
        Outcome {
            buyer: BuyerId::parse("ann").unwrap(),
            purchased_at: DateTime::UNIX_EPOCH,
            lines: lines.collect(),
        }
    }

    #[test]
    fn one_sold_line_makes_it_a_purchase() {
        let outcome = outcome(&[Fate::SoldOut, Fate::Sold, Fate::BuyerLimit]);

        assert_eq!(outcome.verdict(), Verdict::Bought);
        assert_eq!(outcome.total_purchased(), 2);
        assert_eq!(outcome.failed().count(), 2);
    }

    #[test]
    fn only_the_limit_alone_is_blamed_on_the_limit() {
        assert_eq!(outcome(&[Fate::BuyerLimit, Fate::BuyerLimit]).verdict(), Verdict::LimitReached);
        assert_eq!(outcome(&[Fate::BuyerLimit, Fate::SoldOut]).verdict(), Verdict::NothingLeft);
    }
}
