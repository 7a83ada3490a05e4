//! The rule of a cancellation: which lines of a purchase an operator takes back.

use chrono::{DateTime, Utc};

use super::checkout::Line;
use super::ids::{BuyerId, ItemId, Quantity};
use super::purchase::LineOutcome;

/// A line of a purchase, and whether it was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurchaseLine {
    /// The line.
    pub line: Line,
    /// The id of its item.
    pub id: ItemId,
    /// What the purchase did with it.
    pub outcome: LineOutcome,
    /// When it was taken back.
    pub cancelled_at: Option<DateTime<Utc>>,
}

/// Which lines to take back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// All that are sold.
    All,
    /// Those of these items. At least one.
    Items(Vec<ItemId>),
}

/// Why nothing is taken back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CancelRefusal {
    /// The checkout behind the code was not purchased.
    #[error("it was not purchased: there is nothing to cancel")]
    NotPurchased,
    /// The purchase sold nothing.
    #[error("it sold nothing: there is nothing to cancel")]
    NothingSold,
    /// All of it was taken back before.
    #[error("it is already cancelled, since {}", shown(.0))]
    AlreadyCancelled(DateTime<Utc>),
    /// An item of it was taken back before.
    #[error("item {item:?} is already cancelled, since {}", shown(at))]
    ItemAlreadyCancelled {
        /// The item.
        item: String,
        /// When.
        at: DateTime<Utc>,
    },
    /// An item is not part of the purchase.
    #[error("item {0:?} is not part of it")]
    NotInPurchase(String),
    /// An item is part of the purchase, but was not sold.
    #[error("item {0:?} was not sold")]
    NotSold(String),
}

fn shown(at: &DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// A line that is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelledLine {
    /// The line.
    pub line: Line,
    /// The id of its item.
    pub id: ItemId,
}

/// A cancellation that is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancellation {
    /// The buyer.
    pub buyer: BuyerId,
    /// When it was committed, by the database's clock.
    pub cancelled_at: DateTime<Utc>,
    /// What was taken back now, by item number.
    pub lines: Vec<CancelledLine>,
    /// Pieces of the purchase that stay sold.
    pub pieces_left: i32,
    /// Pieces that the buyer has in the sale afterwards.
    pub bought: i32,
}

impl Cancellation {
    /// Pieces that were taken back.
    #[must_use]
    pub fn pieces(&self) -> i32 {
        pieces(&self.lines)
    }
}

/// The pieces of these lines.
#[must_use]
pub fn pieces(lines: &[CancelledLine]) -> i32 {
    lines.iter().map(|cancelled| cancelled.line.quantity).map(Quantity::get).sum()
}

/// The lines to take back of a purchase, by item number. All that is wanted can be taken back, or nothing is: a part that is done
/// silently would look like the whole.
pub fn to_cancel(
    purchase: &[PurchaseLine],
    wanted: &Wanted,
) -> Result<Vec<CancelledLine>, CancelRefusal> {
    let sold = || purchase.iter().filter(|line| line.outcome == LineOutcome::Sold);
    let mut lines: Vec<CancelledLine> = match wanted {
        Wanted::All => {
            let left = sold().filter(|line| line.cancelled_at.is_none());
            left.map(CancelledLine::of).collect()
        }
        Wanted::Items(items) => {
            let lines = items.iter().map(|item| one(purchase, item));
            lines.collect::<Result<_, _>>()?
        }
    };
    if lines.is_empty() {
        let last = sold().filter_map(|line| line.cancelled_at).max();
        return Err(last.map_or(CancelRefusal::NothingSold, CancelRefusal::AlreadyCancelled));
    }
    lines.sort_by_key(|cancelled| cancelled.line.item);
    lines.dedup_by_key(|cancelled| cancelled.line.item);
    Ok(lines)
}

fn one(purchase: &[PurchaseLine], item: &ItemId) -> Result<CancelledLine, CancelRefusal> {
    let id = || item.as_str().to_owned();
    let Some(line) = purchase.iter().find(|line| line.id == *item) else {
        return Err(CancelRefusal::NotInPurchase(id()));
    };
    match line {
        PurchaseLine { cancelled_at: Some(at), .. } => {
            Err(CancelRefusal::ItemAlreadyCancelled { item: id(), at: *at })
        }
        PurchaseLine { outcome: LineOutcome::Sold, .. } => Ok(CancelledLine::of(line)),
        _ => Err(CancelRefusal::NotSold(id())),
    }
}

impl CancelledLine {
    fn of(line: &PurchaseLine) -> Self {
        Self { line: line.line, id: line.id.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::{at, item_id, line};

    /// Items 1 to 4: sold, sold before and cancelled at 9, sold out, sold.
    fn purchase() -> Vec<PurchaseLine> {
        let of = |item: i32, outcome, cancelled_at| PurchaseLine {
            line: line(item, item),
            id: item_id(&item.to_string()),
            outcome,
            cancelled_at,
        };
        vec![
            of(1, LineOutcome::Sold, None),
            of(2, LineOutcome::Sold, Some(at(9))),
            of(3, LineOutcome::SoldOut, None),
            of(4, LineOutcome::Sold, None),
        ]
    }

    fn items(ids: &[&str]) -> Wanted {
        Wanted::Items(ids.iter().map(|id| item_id(id)).collect())
    }

    fn numbers(wanted: &Wanted) -> Result<Vec<i32>, CancelRefusal> {
        let lines = to_cancel(&purchase(), wanted)?;
        Ok(lines.iter().map(|cancelled| cancelled.line.item.0).collect())
    }

    #[test]
    fn all_means_what_is_still_sold() {
        assert_eq!(numbers(&Wanted::All), Ok(vec![1, 4]));
        assert_eq!(pieces(&to_cancel(&purchase(), &Wanted::All).unwrap()), 5);
    }

    #[test]
    fn items_are_taken_back_in_the_order_of_their_numbers_and_once() {
        assert_eq!(numbers(&items(&["4", "1", "4"])), Ok(vec![1, 4]));
    }

    #[test]
    fn one_item_that_cannot_be_taken_back_refuses_all() {
        let named = |id: &str| id.to_owned();
        for (ids, refusal) in [
            (["1", "2"], CancelRefusal::ItemAlreadyCancelled { item: named("2"), at: at(9) }),
            (["1", "3"], CancelRefusal::NotSold(named("3"))),
            (["1", "17"], CancelRefusal::NotInPurchase(named("17"))),
        ] {
            assert_eq!(numbers(&items(&ids)), Err(refusal));
        }
    }

    #[test]
    fn a_purchase_that_is_cancelled_says_so_and_one_that_sold_nothing_too() {
        let mut cancelled = purchase();
        for line in &mut cancelled {
            line.cancelled_at = line.cancelled_at.or(Some(at(3)));
        }
        let refused = to_cancel(&cancelled, &Wanted::All);
        assert_eq!(refused, Err(CancelRefusal::AlreadyCancelled(at(9))));
        let nothing = &purchase()[2..3];
        assert_eq!(to_cancel(nothing, &Wanted::All), Err(CancelRefusal::NothingSold));
    }
}
