//! A sale: its window, its limit, and the bounds of a new one.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Datelike, Utc};

use super::ids::SaleId;

/// Maximum number of items (rows) of a sale.
pub const MAX_ITEMS: i32 = 1_000_000;
/// Maximum number of pieces of an item.
pub const MAX_STOCK: i32 = 100_000_000;
/// Maximum limit of pieces per buyer. It also bounds a checkout: every line is at least one piece.
pub const MAX_BUYER_LIMIT: i32 = 1_000;
/// Maximum length of a sale's name, in characters.
pub const MAX_NAME_CHARS: usize = 200;

/// The time in which a sale is open: from its start to its end, exclusive, by the database's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaleWindow {
    starts_at: DateTime<Utc>,
    ends_at: DateTime<Utc>,
}

/// The state of a sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaleState {
    /// Before its start.
    Upcoming,
    /// Selling.
    Open,
    /// At or after its end.
    Ended,
}

impl SaleState {
    /// The name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upcoming => "upcoming",
            Self::Open => "open",
            Self::Ended => "ended",
        }
    }
}

impl fmt::Display for SaleState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl SaleWindow {
    /// A window from `starts_at` to `ends_at`; `None` unless it ends after it starts, within the four-digit years of RFC
    /// 3339.
    #[must_use]
    pub fn new(starts_at: DateTime<Utc>, ends_at: DateTime<Utc>) -> Option<Self> {
        let has_four_digits = (0..=9999).contains(&starts_at.year()) && ends_at.year() <= 9999;
        (ends_at > starts_at && has_four_digits).then_some(Self { starts_at, ends_at })
    }

    /// A window of this length; `None` if the length is zero or the end lies beyond the calendar.
    #[must_use]
    pub fn lasting(starts_at: DateTime<Utc>, length: Duration) -> Option<Self> {
        let length = chrono::Duration::from_std(length).ok()?;
        Self::new(starts_at, starts_at.checked_add_signed(length)?)
    }

    /// The first moment in which it is open.
    #[must_use]
    pub fn starts_at(&self) -> DateTime<Utc> {
        self.starts_at
    }

    /// The first moment in which it is no longer open.
    #[must_use]
    pub fn ends_at(&self) -> DateTime<Utc> {
        self.ends_at
    }

    /// The state at a moment of the database's clock.
    #[must_use]
    pub fn state_at(&self, now: DateTime<Utc>) -> SaleState {
        if now < self.starts_at {
            SaleState::Upcoming
        } else if now < self.ends_at {
            SaleState::Open
        } else {
            SaleState::Ended
        }
    }

    /// The state at a moment that is known up to an error; `None` if two states are possible, so that only the database
    /// can decide.
    #[must_use]
    pub fn state_within(&self, reading: ClockReading) -> Option<SaleState> {
        let earliest = self.state_at(reading.earliest());
        (earliest == self.state_at(reading.latest())).then_some(earliest)
    }
}

/// An estimate of the database's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReading {
    /// The best estimate.
    pub at: DateTime<Utc>,
    /// Maximum difference between the estimate and the true time.
    pub error: Duration,
}

impl ClockReading {
    fn earliest(self) -> DateTime<Utc> {
        self.at.checked_sub_signed(self.error()).unwrap_or(DateTime::<Utc>::MIN_UTC)
    }

    fn latest(self) -> DateTime<Utc> {
        self.at.checked_add_signed(self.error()).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    fn error(self) -> chrono::Duration {
        chrono::Duration::from_std(self.error).unwrap_or(chrono::Duration::MAX)
    }
}

/// A sale as stored in PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sale {
    /// Its number.
    pub id: SaleId,
    /// Its display name.
    pub name: String,
    /// Whether the schedule created it; otherwise an operator did.
    pub scheduled: bool,
    /// The time in which it is open.
    pub window: SaleWindow,
    /// Maximum number of pieces per buyer.
    pub buyer_limit: i32,
    /// Number of items (rows).
    pub items: i32,
    /// Increases with every change that can make a sold-out item available again or that moves the window.
    pub generation: i64,
}

/// A sale to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSale {
    /// Its display name.
    pub name: String,
    /// Whether it belongs to the schedule, which has at most one sale per start.
    pub scheduled: bool,
    /// The time in which it is open.
    pub window: SaleWindow,
    /// Maximum number of pieces per buyer.
    pub buyer_limit: i32,
    /// Number of items, numbered from 1.
    pub items: i32,
    /// Pieces of each item.
    pub stock: i32,
}

/// Why a new sale is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSale {
    /// Too few or too many items.
    #[error("items must be between 1 and {MAX_ITEMS}")]
    Items,
    /// Too few or too many pieces.
    #[error("stock must be between 1 and {MAX_STOCK}")]
    Stock,
    /// A limit of zero, or beyond the maximum.
    #[error("the buyer limit must be between 1 and {MAX_BUYER_LIMIT}")]
    BuyerLimit,
    /// An empty or too long name, or one with control characters.
    #[error("the name must have 1 to {MAX_NAME_CHARS} characters and no control characters")]
    Name,
}

impl NewSale {
    /// Checks the bounds.
    pub fn validated(self) -> Result<Self, InvalidSale> {
        if !(1..=MAX_ITEMS).contains(&self.items) {
            Err(InvalidSale::Items)
        } else if !(1..=MAX_STOCK).contains(&self.stock) {
            Err(InvalidSale::Stock)
        } else if !is_buyer_limit(self.buyer_limit) {
            Err(InvalidSale::BuyerLimit)
        } else if !is_sale_name(&self.name) {
            Err(InvalidSale::Name)
        } else {
            Ok(self)
        }
    }
}

/// Whether a sale may have this limit of pieces per buyer.
pub(super) fn is_buyer_limit(limit: i32) -> bool {
    (1..=MAX_BUYER_LIMIT).contains(&limit)
}

/// Whether a sale may have this name.
#[must_use]
pub fn is_sale_name(name: &str) -> bool {
    let has_length = (1..=MAX_NAME_CHARS).contains(&name.chars().count());
    has_length && !name.chars().any(char::is_control)
}

/// The progress of a sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Pieces sold.
    pub sold: i64,
    /// Pieces left.
    pub remaining: i64,
    /// Items with a piece left.
    pub available_items: i64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn window() -> SaleWindow {
        SaleWindow::new(at(100), at(200)).unwrap()
    }

    #[test]
    fn a_sale_is_open_from_its_start_up_to_but_not_at_its_end() {
        let states = [99, 100, 199, 200].map(|second| window().state_at(at(second)));

        assert_eq!(
            states,
            [SaleState::Upcoming, SaleState::Open, SaleState::Open, SaleState::Ended]
        );
    }

    #[test]
    fn a_window_must_end_after_it_starts() {
        assert_eq!(SaleWindow::new(at(5), at(5)), None);
        assert_eq!(SaleWindow::lasting(at(5), Duration::ZERO), None);
    }

    #[test]
    fn within_the_clocks_error_of_an_edge_the_state_is_unknown() {
        let reading = |second| ClockReading { at: at(second), error: Duration::from_secs(2) };

        assert_eq!(window().state_within(reading(99)), None);
        assert_eq!(window().state_within(reading(199)), None);
        assert_eq!(window().state_within(reading(150)), Some(SaleState::Open));
        assert_eq!(window().state_within(reading(203)), Some(SaleState::Ended));
    }

    proptest! {
        #[test]
        fn a_state_that_is_told_is_true_at_every_moment_within_the_error(
            estimate in 0_i64..300, error in 0_i64..60, truth in -60_i64..60
        ) {
            prop_assume!(truth.abs() <= error);
            let reading =
                ClockReading { at: at(estimate), error: Duration::from_secs(error.unsigned_abs()) };
            if let Some(state) = window().state_within(reading) {
                prop_assert_eq!(state, window().state_at(at(estimate + truth)));
            }
        }
    }
}
