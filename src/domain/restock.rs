//! The rule of a restock: pieces that are added to an item, or taken from what is left of it.

use super::ids::SaleId;
use super::sale::MAX_STOCK;

/// The pieces of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stock {
    /// In total.
    pub pieces: i32,
    /// Sold of them.
    pub sold: i32,
}

/// Why an item is not restocked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestockRefusal {
    /// There is no such sale.
    #[error("there is no sale {0}")]
    UnknownSale(SaleId),
    /// The sale has no such item.
    #[error("the sale has no item {0:?}")]
    UnknownItem(String),
    /// The sale has ended or was cancelled.
    #[error("the sale has ended: move its end first")]
    Ended,
    /// More pieces than an item may have.
    #[error("the item would have more than {MAX_STOCK} pieces: it has {0}")]
    TooMany(i32),
    /// Fewer pieces than were sold.
    #[error("the item would have fewer pieces than it has sold: {} of {} are sold", .0.sold, .0.pieces)]
    BelowSold(Stock),
}

impl Stock {
    /// With so many pieces more, or fewer if negative.
    pub fn restocked(self, pieces: i32) -> Result<Self, RestockRefusal> {
        match self.pieces.checked_add(pieces) {
            Some(total) if total < self.sold => Err(RestockRefusal::BelowSold(self)),
            Some(total) if total <= MAX_STOCK => Ok(Self { pieces: total, ..self }),
            _ => Err(RestockRefusal::TooMany(self.pieces)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_added_or_taken_between_what_is_sold_and_the_bound() {
        let stock = Stock { pieces: 5, sold: 3 };

        assert_eq!(stock.restocked(2), Ok(Stock { pieces: 7, sold: 3 }));
        assert_eq!(stock.restocked(-2), Ok(Stock { pieces: 3, sold: 3 }));
        assert_eq!(stock.restocked(-3), Err(RestockRefusal::BelowSold(stock)));
        assert_eq!(stock.restocked(MAX_STOCK), Err(RestockRefusal::TooMany(5)));
        assert_eq!(stock.restocked(i32::MAX), Err(RestockRefusal::TooMany(5)));
    }
}
