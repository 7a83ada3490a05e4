//! Values for tests.

use std::time::Duration;

use chrono::DateTime;

use crate::domain::ids::SaleId;
use crate::domain::sale::{Sale, SaleWindow};

/// An hour's sale of ten items from 1,000 seconds after 1970, ten pieces a buyer.
pub(crate) fn a_sale(number: i64) -> Sale {
    let starts_at = DateTime::from_timestamp(1_000, 0).unwrap();
    Sale {
        id: SaleId::new(number).unwrap(),
        name: format!("sale {number}"),
        scheduled: false,
        window: SaleWindow::lasting(starts_at, Duration::from_hours(1)).unwrap(),
        buyer_limit: 10,
        items: 10,
        generation: 1,
    }
}
