//! Cells: databases with a part of the sales each. The number of a sale shows its cell.

use std::fmt;

use super::ids::SaleId;

/// Bits of a number that count within a cell, as in `take_cell` of the schema.
const BITS: u32 = 40;

/// The number of a cell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CellId(u32);

impl CellId {
    /// The last cell whose numbers fit into a positive `bigint`.
    pub const MAX: u32 = (1 << (i64::BITS - 1 - BITS)) - 1;

    /// `None` above [`Self::MAX`].
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        (number <= Self::MAX).then_some(Self(number))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    /// The cell of a sale.
    #[must_use]
    pub fn of(sale: SaleId) -> Self {
        // A sale's number is positive, so 23 bits are left.
        Self(u32::try_from(sale.get() >> BITS).unwrap_or_default())
    }
}

impl fmt::Display for CellId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell_of(number: i64) -> u32 {
        CellId::of(SaleId::new(number).unwrap()).get()
    }

    #[test]
    fn a_sale_belongs_to_the_cell_of_its_high_bits() {
        let second = 1 << BITS;

        assert_eq!([1, second - 1, second, 2 * second - 1].map(cell_of), [0, 0, 1, 1]);
    }

    #[test]
    fn the_last_cell_ends_with_the_largest_number() {
        assert_eq!(cell_of(i64::MAX), CellId::MAX);
        assert_eq!(CellId::new(CellId::MAX).map(CellId::get), Some(CellId::MAX));
        assert_eq!(CellId::new(CellId::MAX + 1), None);
    }

    #[test]
    fn every_number_of_every_cell_has_a_public_id() {
        for cell in [0, 1, 10, CellId::MAX] {
            let first = (i64::from(cell) << BITS).max(1);
            for number in [first, first | ((1 << BITS) - 1)] {
                let sale = SaleId::new(number).unwrap();

                assert_eq!(SaleId::parse(&sale.to_string()), Some(sale));
                assert_eq!(CellId::of(sale).get(), cell);
            }
        }
    }
}
