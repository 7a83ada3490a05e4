//! One of each cell, picked by the number of a sale.

use crate::domain::cell::CellId;
use crate::domain::ids::SaleId;

/// What every cell has one of, such as its use cases.
#[derive(Debug)]
pub struct Cells<T> {
    home: T,
    others: Box<[(CellId, T)]>,
}

impl<T> Cells<T> {
    /// `home` answers what names no sale, and what names one of no cell here: it does not find that.
    #[must_use]
    pub fn new(home: T, others: Vec<(CellId, T)>) -> Self {
        Self { home, others: others.into() }
    }

    /// That of the sale's cell, without I/O.
    #[must_use]
    pub fn of(&self, sale: impl Into<Option<SaleId>>) -> &T {
        // A single cell is not asked which sales it has: it knows those, and finds no others.
        if self.others.is_empty() {
            return &self.home;
        }
        let cell = sale.into().map(CellId::of);
        let other = self.others.iter().find(|(id, _)| Some(*id) == cell);
        other.map_or(&self.home, |(_, it)| it)
    }

    /// That of the home cell.
    #[must_use]
    pub fn home(&self) -> &T {
        &self.home
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sale(number: i64) -> SaleId {
        SaleId::new(number).unwrap()
    }

    #[test]
    fn a_sale_is_looked_for_in_its_own_cell() {
        let cells = Cells::new(0, vec![(CellId::new(1).unwrap(), 1), (CellId::new(7).unwrap(), 7)]);

        let found = [1, 1 << 40, (1 << 40) + 5, 7 << 40].map(|number| *cells.of(sale(number)));

        assert_eq!(found, [0, 1, 1, 7]);
    }

    #[test]
    fn what_names_no_sale_or_one_of_no_cell_is_the_home_cells() {
        let cells = Cells::new(0, vec![(CellId::new(1).unwrap(), 1)]);

        assert_eq!((*cells.of(None), *cells.of(sale(2 << 40)), *cells.home()), (0, 0, 0));
    }
}
