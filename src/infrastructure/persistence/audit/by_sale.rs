//! Rows in the order of their sales, so that each statement writes those of one.

use std::collections::BTreeMap;

use crate::domain::ids::SaleId;

/// The rows of each sale, in their order.
pub(super) fn by_sale<T>(
    rows: impl IntoIterator<Item = T>,
    sale: impl Fn(&T) -> SaleId,
) -> BTreeMap<SaleId, Vec<T>> {
    let mut sales: BTreeMap<SaleId, Vec<T>> = BTreeMap::new();
    for row in rows {
        sales.entry(sale(&row)).or_default().push(row);
    }
    sales
}
