//! The intervals of a report: single seconds where a rush is, wider ones behind it in long sales, so that a report has a bounded size.

use crate::domain::sale::SaleWindow;

/// So many seconds after the start have an interval each, however long the sale is.
pub const SINGLE_SECONDS: i64 = 1_800;
/// Maximum number of intervals behind them. A sale of an hour has single seconds to its end.
const MAX_WIDE: i64 = 1_800;
/// Widths of the intervals behind the single seconds, in seconds; wider ones are whole days.
const WIDTHS: [i64; 16] =
    [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 43_200];
const DAY: i64 = 86_400;

/// The intervals of one sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeline {
    wide: i64,
}

impl Timeline {
    /// The intervals of a sale with this window. They depend on nothing else, so the database can count by them.
    #[must_use]
    pub fn of(window: SaleWindow) -> Self {
        let length = (window.ends_at() - window.starts_at()).num_milliseconds();
        let behind = ((length + 999) / 1_000 - SINGLE_SECONDS).max(0);
        let width = |behind: i64| (behind + MAX_WIDE - 1) / MAX_WIDE;
        let at_least = width(behind);
        let wide = WIDTHS.into_iter().find(|width| *width >= at_least);
        Self { wide: wide.unwrap_or((at_least + DAY - 1) / DAY * DAY) }
    }

    /// Length of an interval behind the single seconds, in seconds.
    #[must_use]
    pub fn wide(self) -> i64 {
        self.wide
    }

    /// Length of the interval that begins at this second.
    #[must_use]
    pub fn width_at(self, second: i64) -> i64 {
        if second < SINGLE_SECONDS { 1 } else { self.wide }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::builders::at;

    fn wide_of(seconds: u64) -> i64 {
        let window = SaleWindow::lasting(at(0), Duration::from_secs(seconds)).unwrap();
        Timeline::of(window).wide()
    }

    #[test]
    fn a_sale_of_an_hour_has_single_seconds_and_a_longer_one_wider_intervals_behind_them() {
        assert_eq!((wide_of(1), wide_of(3_600)), (1, 1));
        assert_eq!((wide_of(3_601), wide_of(86_400), wide_of(7 * 86_400)), (2, 60, 600));
    }

    proptest! {
        #[test]
        fn a_report_of_any_sale_has_at_most_an_hour_of_seconds(seconds in 1_u64..200_000_000_000) {
            let wide = wide_of(seconds);
            let behind = (i64::try_from(seconds).unwrap() - SINGLE_SECONDS).max(0);
            prop_assert!((behind + wide - 1) / wide <= MAX_WIDE);
        }
    }
}
