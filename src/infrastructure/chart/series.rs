//! What is drawn of a report: how much of its time, the curve of sold pieces, and rates in bars of equal width.

use crate::domain::sale_report::{Interval, SaleReport};

/// Most bars of a diagram: each has a few pixels.
const MAX_BARS: i64 = 220;
/// Widths of bars in seconds; wider ones are whole days.
const WIDTHS: [i64; 13] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1_800, 3_600, 21_600];
const DAY: i64 = 86_400;
/// A sale in which nothing has happened.
const EMPTY_SECONDS: i64 = 60;

/// Counts and lengths as drawn: positions need no more than these 52 bits.
#[expect(clippy::cast_precision_loss, reason = "only positions and rounded rates are made of it")]
pub(super) fn real(number: i64) -> f64 {
    number as f64
}

/// The seconds from the start that are drawn. What was refused long after the last piece was sold would squeeze the curve.
pub(super) fn drawn_seconds(report: &SaleReport) -> i64 {
    let length = (report.window.ends_at() - report.window.starts_at()).num_milliseconds();
    let length = (length + 999) / 1_000;
    let end = |interval: &Interval| interval.second + interval.seconds;
    let last = report.intervals.iter().map(end).max();
    let last_sold = report.intervals.iter().filter(|one| one.sold > 0).map(end).max();
    let wanted = match (last_sold, last) {
        (Some(sold), Some(last)) if report.sold_out_at.is_some() => last.min(sold + sold / 6 + 1),
        (_, Some(last)) => last,
        (_, None) => EMPTY_SECONDS,
    };
    wanted.min(length).max(1)
}

/// Average rates of one figure in bars of equal width.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rates {
    /// Length of a bar in seconds.
    pub(super) width: i64,
    /// Per second, in each bar.
    pub(super) bars: Vec<f64>,
    /// What happened behind the last bar.
    pub(super) behind: i64,
}

impl Rates {
    /// The rates of a figure in the first seconds of the report. What happened in a wide interval is spread evenly over it.
    pub(super) fn of(report: &SaleReport, seconds: i64, figure: fn(&Interval) -> i64) -> Self {
        let at_least = (seconds + MAX_BARS - 1) / MAX_BARS;
        let width = WIDTHS.into_iter().find(|width| *width >= at_least);
        let width = width.unwrap_or((at_least + DAY - 1) / DAY * DAY);
        let count = usize::try_from((seconds + width - 1) / width).unwrap_or(0);
        let mut rates = Self { width, bars: vec![0.0; count], behind: 0 };
        for interval in &report.intervals {
            rates.spread(interval, figure(interval));
        }
        for bar in &mut rates.bars {
            *bar /= real(width);
        }
        rates
    }

    fn spread(&mut self, interval: &Interval, amount: i64) {
        let (begin, end) = (interval.second, interval.second + interval.seconds);
        let bars = self.bars.len();
        let first = usize::try_from(begin / self.width).unwrap_or(usize::MAX);
        if first >= bars {
            self.behind += amount;
            return;
        }
        for (bar, sum) in self.bars.iter_mut().enumerate().skip(first) {
            let from = self.width * i64::try_from(bar).unwrap_or(i64::MAX);
            let overlap = end.min(from + self.width) - begin.max(from);
            if overlap <= 0 {
                return;
            }
            *sum += real(amount) * real(overlap) / real(interval.seconds);
        }
    }

    pub(super) fn highest(&self) -> f64 {
        self.bars.iter().copied().fold(0.0, f64::max)
    }
}

/// The curve of sold pieces: seconds from the start, and the pieces sold until then.
pub(super) fn sold_curve(report: &SaleReport, seconds: i64) -> Vec<(f64, f64)> {
    let mut points = vec![(0.0, 0.0)];
    let mut sold = 0;
    let sold_out = report.time_to_sell_out().map(|time| real(time.num_milliseconds()) / 1_000.0);
    let selling = report.intervals.iter().filter(|interval| interval.sold > 0);
    for interval in selling {
        points.push((real(interval.second), real(sold)));
        sold += interval.sold;
        let end = real(interval.second + interval.seconds);
        // The last piece was sold within its second.
        let end = if sold >= report.pieces { sold_out.map_or(end, |at| at.min(end)) } else { end };
        points.push((end, real(sold)));
    }
    let until_now = real((report.as_of - report.window.starts_at()).num_milliseconds()) / 1_000.0;
    let last = points.last().map_or(0.0, |point| point.0);
    points.push((real(seconds).min(until_now).max(last), real(sold)));
    points
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::sale::SaleWindow;
    use crate::domain::sale_report::{PurchaseFacts, SaleFacts};
    use crate::testing::builders::{at, sale_id};

    /// A sale of ten pieces in an hour that has sold so many in each of these seconds, and has refused one request in the last.
    fn report(sold: &[(i64, i64)], refused: i64) -> SaleReport {
        let purchases = sold.iter().map(|&(second, sold)| PurchaseFacts {
            second,
            sold,
            purchases: sold,
            unsuccessful: 0,
            last_sold_at: Some(at(second) + chrono::Duration::milliseconds(250)),
            peak: crate::domain::sale_report::Peak { second, sold },
        });
        let facts = SaleFacts {
            sale: sale_id(1),
            name: "a sale".to_owned(),
            window: SaleWindow::lasting(at(0), Duration::from_hours(1)).unwrap(),
            as_of: at(1_000),
            cancelled: 0,
            pieces: 10,
            buyers: 1,
            purchases: purchases.collect(),
            checkouts: Vec::new(),
            refused: vec![(refused, 1)],
            refusals: Vec::new(),
        };
        SaleReport::of(facts, false)
    }

    #[test]
    fn the_curve_is_flat_where_nothing_is_sold_and_ends_with_the_last_piece() {
        let curve = sold_curve(&report(&[(0, 4), (3, 6)], 9), 20);

        let expected = [(0.0, 0.0), (0.0, 0.0), (1.0, 4.0), (3.0, 4.0), (3.25, 10.0), (20.0, 10.0)];
        assert_eq!(curve, expected);
    }

    #[test]
    fn a_sale_that_goes_on_is_drawn_until_now() {
        let curve = sold_curve(&report(&[(0, 4)], 9), 3_000);

        assert_eq!(curve.last(), Some(&(1_000.0, 4.0)));
    }

    #[test]
    fn what_is_refused_long_after_the_last_piece_is_not_drawn_but_counted() {
        let report = report(&[(0, 4), (29, 6)], 3_000);
        let seconds = drawn_seconds(&report);
        let rates = Rates::of(&report, seconds, |interval| interval.refusals);

        assert_eq!((seconds, rates.behind), (36, 1));
        assert_eq!(drawn_seconds(&super::tests::report(&[(0, 4)], 3_000)), 3_001);
    }

    #[test]
    fn bars_of_several_seconds_are_averages_and_lose_nothing() {
        let report = report(&[(0, 4), (1_000, 6)], 999);
        let rates = Rates::of(&report, 1_001, |interval| interval.sold);

        assert_eq!(rates.width, 5);
        let all: f64 = rates.bars.iter().map(|bar| bar * 5.0).sum();
        assert!((all - 10.0).abs() < 1e-9, "{all}");
        assert!((rates.highest() - 1.2).abs() < 1e-9);
    }
}
