//! The report of a sale: what was sold, to how many, how fast, and what was refused. `docs/reports.md` defines every figure.

mod timeline;

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, Utc};

pub use timeline::{SINGLE_SECONDS, Timeline};

use super::ids::SaleId;
use super::sale::SaleWindow;

/// What the record holds of a sale, as of one moment. Seconds count from the start of the sale, and name intervals of its
/// [`Timeline`].
#[derive(Debug, Clone, PartialEq)]
pub struct SaleFacts {
    /// The sale.
    pub sale: SaleId,
    /// Its display name.
    pub name: String,
    /// The time in which it is open.
    pub window: SaleWindow,
    /// The moment, by the database's clock.
    pub as_of: DateTime<Utc>,
    /// Pieces on offer, sold or not.
    pub pieces: i64,
    /// Pieces that operators have taken back.
    pub cancelled: i64,
    /// Buyers with at least one piece.
    pub buyers: i64,
    /// Decided purchases of each interval.
    pub purchases: Vec<PurchaseFacts>,
    /// The second and the checkouts that were begun in its interval.
    pub checkouts: Vec<(i64, i64)>,
    /// The second and the refusals with details in its interval.
    pub refused: Vec<(i64, i64)>,
    /// Refusals by reason.
    pub refusals: Vec<RefusalFacts>,
}

/// The purchases that were decided in an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurchaseFacts {
    /// The interval.
    pub second: i64,
    /// Pieces sold.
    pub sold: i64,
    /// Purchases of at least one piece.
    pub purchases: i64,
    /// Purchases of nothing: all was sold out, or beyond the buyer's limit.
    pub unsuccessful: i64,
    /// When the last of these pieces was sold.
    pub last_sold_at: Option<DateTime<Utc>>,
    /// The single second of the interval that sold most, the first of several.
    pub peak: Peak,
}

/// The refusals for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalFacts {
    /// The reason's name.
    pub reason: String,
    /// Number of refusals.
    pub total: i64,
    /// Number of refusals with details.
    pub detailed: i64,
}

/// A second, and what it sold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peak {
    /// The second.
    pub second: i64,
    /// Pieces sold in it.
    pub sold: i64,
}

/// What happened in one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Its first second, counted from the start of the sale.
    pub second: i64,
    /// Its length in seconds.
    pub seconds: i64,
    /// Pieces sold.
    pub sold: i64,
    /// Purchases of at least one piece.
    pub purchases: i64,
    /// Checkouts that were begun.
    pub checkouts: i64,
    /// Refusals with details, which are the ones with a known second.
    pub refusals: i64,
}

/// The report of a sale.
#[derive(Debug, Clone, PartialEq)]
pub struct SaleReport {
    /// The sale.
    pub sale: SaleId,
    /// Its display name.
    pub name: String,
    /// The time in which it is open.
    pub window: SaleWindow,
    /// The moment of the record, by the database's clock.
    pub as_of: DateTime<Utc>,
    /// Whether the sale has ended and nothing of it can still be committed.
    pub is_final: bool,
    /// Pieces on offer, sold or not.
    pub pieces: i64,
    /// Pieces sold, without those that were taken back.
    pub sold: i64,
    /// Pieces that operators have taken back. They are among those of the intervals, which tell when pieces were sold.
    pub cancelled: i64,
    /// Buyers with at least one piece.
    pub buyers: i64,
    /// Checkouts that were begun, bought or not.
    pub checkouts: i64,
    /// Purchases of at least one piece.
    pub purchases: i64,
    /// Purchases of nothing: all was sold out, or beyond the buyer's limit.
    pub unsuccessful: i64,
    /// Refusals by reason.
    pub refusals: BTreeMap<String, i64>,
    /// Refusals with details.
    pub refusals_detailed: i64,
    /// When the last piece was sold; `None` while pieces are left.
    pub sold_out_at: Option<DateTime<Utc>>,
    /// The second that sold most, the first of several; `None` before the first piece is sold.
    pub peak: Option<Peak>,
    /// The interval that sold least while the sale was selling; `None` before the first piece is sold.
    pub slowest: Option<Interval>,
    /// The intervals in which something happened, in order.
    pub intervals: Vec<Interval>,
}

impl SaleReport {
    /// The report of these facts.
    #[must_use]
    pub fn of(facts: SaleFacts, is_final: bool) -> Self {
        let timeline = Timeline::of(facts.window);
        let sum = |figure: fn(&PurchaseFacts) -> i64| facts.purchases.iter().map(figure).sum();
        let sold = sum(|one| one.sold) - facts.cancelled;
        let is_sold_out = facts.pieces > 0 && sold >= facts.pieces;
        let last_sold_at = facts.purchases.iter().filter_map(|one| one.last_sold_at).max();
        let intervals = intervals(&facts, timeline);
        Self {
            sale: facts.sale,
            window: facts.window,
            as_of: facts.as_of,
            is_final,
            pieces: facts.pieces,
            sold,
            cancelled: facts.cancelled,
            buyers: facts.buyers,
            checkouts: facts.checkouts.iter().map(|(_, count)| count).sum(),
            purchases: sum(|one| one.purchases),
            unsuccessful: sum(|one| one.unsuccessful),
            refusals_detailed: facts.refusals.iter().map(|one| one.detailed).sum(),
            refusals: by_reason(&facts.refusals),
            sold_out_at: last_sold_at.filter(|_| is_sold_out),
            peak: peak(&facts.purchases),
            slowest: slowest(&intervals, timeline),
            intervals,
            name: facts.name,
        }
    }

    /// Time from the start until the last piece was sold.
    #[must_use]
    pub fn time_to_sell_out(&self) -> Option<Duration> {
        self.sold_out_at.map(|sold_out_at| sold_out_at - self.window.starts_at())
    }

    /// All refusals.
    #[must_use]
    pub fn refused(&self) -> i64 {
        self.refusals.values().sum()
    }

    /// The moment of a second that counts from the start.
    #[must_use]
    pub fn moment(&self, second: i64) -> DateTime<Utc> {
        self.window.starts_at() + Duration::seconds(second)
    }
}

fn by_reason(refusals: &[RefusalFacts]) -> BTreeMap<String, i64> {
    let mut totals = BTreeMap::new();
    for refusal in refusals.iter().filter(|refusal| refusal.total > 0) {
        *totals.entry(refusal.reason.clone()).or_default() += refusal.total;
    }
    totals
}

fn intervals(facts: &SaleFacts, timeline: Timeline) -> Vec<Interval> {
    let mut intervals: BTreeMap<i64, Interval> = BTreeMap::new();
    let mut at = |second: i64, change: &dyn Fn(&mut Interval)| {
        // No clock that was put back can have sold before the start; such a row would only be counted in the totals.
        if second >= 0 {
            let empty = || empty(second, timeline);
            change(intervals.entry(second).or_insert_with(empty));
        }
    };
    for one in &facts.purchases {
        at(one.second, &|interval| {
            interval.sold += one.sold;
            interval.purchases += one.purchases;
        });
    }
    for (second, count) in &facts.checkouts {
        at(*second, &|interval| interval.checkouts += count);
    }
    for (second, count) in &facts.refused {
        at(*second, &|interval| interval.refusals += count);
    }
    intervals.into_values().collect()
}

fn empty(second: i64, timeline: Timeline) -> Interval {
    let seconds = timeline.width_at(second);
    Interval { second, seconds, sold: 0, purchases: 0, checkouts: 0, refusals: 0 }
}

fn peak(purchases: &[PurchaseFacts]) -> Option<Peak> {
    let sold = purchases.iter().map(|one| one.peak).filter(|peak| peak.sold > 0);
    // Of several that sold as much, the earliest.
    sold.max_by_key(|peak| (peak.sold, -peak.second))
}

/// Among the intervals from the first sold piece to the last; without the last one, which ends early because nothing is left, unless
/// it is the only one.
fn slowest(intervals: &[Interval], timeline: Timeline) -> Option<Interval> {
    let sold: Vec<&Interval> = intervals.iter().filter(|one| one.sold > 0).collect();
    let (last, before) = sold.split_last()?;
    let mut slowest: Option<Interval> = None;
    for (one, next) in before.iter().zip(&sold[1..]) {
        if slowest.is_none_or(|slowest| is_slower(one, &slowest)) {
            slowest = Some(**one);
        }
        let pause = one.second + one.seconds;
        if pause < next.second {
            // Nothing is slower, and a later pause is no first one.
            let found = intervals.iter().find(|interval| interval.second == pause);
            return Some(found.copied().unwrap_or_else(|| empty(pause, timeline)));
        }
    }
    slowest.or(Some(**last))
}

fn is_slower(one: &Interval, other: &Interval) -> bool {
    i128::from(one.sold) * i128::from(other.seconds)
        < i128::from(other.sold) * i128::from(one.seconds)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::builders::{at, sale_id};

    /// A sale of an hour that starts at 0 and has sold so many pieces in each of these seconds, one piece a purchase.
    fn facts(pieces: i64, sold: &[(i64, i64)]) -> SaleFacts {
        let purchases = sold.iter().map(|&(second, sold)| PurchaseFacts {
            second,
            sold,
            purchases: sold,
            unsuccessful: 1,
            last_sold_at: (sold > 0).then(|| at(second)),
            peak: Peak { second, sold },
        });
        SaleFacts {
            sale: sale_id(1),
            name: "a sale".to_owned(),
            window: SaleWindow::lasting(at(0), Duration::from_hours(1)).unwrap(),
            as_of: at(4_000),
            cancelled: 0,
            pieces,
            buyers: 3,
            purchases: purchases.collect(),
            checkouts: vec![(0, 5), (2, 1)],
            refused: vec![(2, 7), (9, 1)],
            refusals: vec![
                RefusalFacts { reason: "item_sold_out".to_owned(), total: 20, detailed: 8 },
                RefusalFacts { reason: "buyer_limit".to_owned(), total: 3, detailed: 3 },
                RefusalFacts { reason: "item_sold_out".to_owned(), total: 2, detailed: 2 },
                RefusalFacts { reason: "unavailable".to_owned(), total: 0, detailed: 0 },
            ],
        }
    }

    fn report(pieces: i64, sold: &[(i64, i64)]) -> SaleReport {
        SaleReport::of(facts(pieces, sold), true)
    }

    fn slowest_of(sold: &[(i64, i64)]) -> Option<(i64, i64)> {
        report(1_000, sold).slowest.map(|slowest| (slowest.second, slowest.sold))
    }

    #[test]
    fn figures_are_added_up_over_the_intervals() {
        let report = report(50, &[(0, 4), (1, 6)]);

        assert_eq!((report.sold, report.purchases, report.unsuccessful), (10, 10, 2));
        assert_eq!((report.checkouts, report.refused(), report.refusals_detailed), (6, 25, 13));
        assert_eq!(report.refusals["item_sold_out"], 22);
        assert!(!report.refusals.contains_key("unavailable"));
    }

    #[test]
    fn an_interval_has_all_that_happened_in_it_and_empty_ones_are_left_out() {
        let report = report(50, &[(0, 4), (2, 6)]);

        let seconds: Vec<i64> = report.intervals.iter().map(|one| one.second).collect();
        assert_eq!(seconds, [0, 2, 9]);
        let third = report.intervals[1];
        assert_eq!((third.seconds, third.sold, third.checkouts, third.refusals), (1, 6, 1, 7));
    }

    #[test]
    fn a_sale_is_sold_out_when_its_last_piece_was_sold() {
        let left = report(11, &[(0, 4), (7, 6)]);
        let sold_out = report(10, &[(0, 4), (7, 6), (9, 0)]);

        assert_eq!(left.sold_out_at, None);
        assert_eq!(sold_out.sold_out_at, Some(at(7)));
        assert_eq!(sold_out.time_to_sell_out(), Some(chrono::Duration::seconds(7)));
    }

    #[test]
    fn of_the_seconds_that_sold_most_the_first_is_the_peak() {
        assert_eq!(report(50, &[(0, 4), (3, 6), (5, 6)]).peak, Some(Peak { second: 3, sold: 6 }));
        assert_eq!(report(50, &[]).peak, None);
    }

    #[test]
    fn the_slowest_second_lies_between_the_first_and_the_last_piece() {
        assert_eq!(slowest_of(&[(5, 9), (6, 3), (7, 8), (8, 1)]), Some((6, 3)));
        assert_eq!(slowest_of(&[(5, 9), (6, 3), (7, 3), (8, 1)]), Some((6, 3)));
        assert_eq!(slowest_of(&[(5, 9)]), Some((5, 9)));
        assert_eq!(slowest_of(&[]), None);
    }

    #[test]
    fn a_second_without_a_sale_in_between_is_the_slowest() {
        assert_eq!(slowest_of(&[(0, 1), (1, 9), (5, 9), (9, 9)]), Some((2, 0)));
        let refused_meanwhile = report(50, &[(0, 1), (1, 9), (5, 9)]).slowest.unwrap();
        assert_eq!(refused_meanwhile.refusals, 7);
    }

    #[test]
    fn in_a_long_sale_the_slowest_interval_is_the_one_with_the_lowest_rate() {
        let mut long = facts(1_000, &[(1_799, 4), (1_800, 60), (1_860, 300), (1_920, 1)]);
        long.window = SaleWindow::lasting(at(0), Duration::from_hours(24)).unwrap();

        let slowest = SaleReport::of(long, true).slowest.unwrap();

        assert_eq!((slowest.second, slowest.seconds, slowest.sold), (1_800, 60, 60));
    }

    #[test]
    fn a_sale_that_has_not_begun_has_an_empty_report() {
        let report = SaleReport::of(
            SaleFacts { checkouts: Vec::new(), refused: Vec::new(), ..facts(10, &[]) },
            false,
        );

        assert_eq!((report.sold, report.checkouts, report.intervals.len()), (0, 0, 0));
        assert!(!report.is_final);
    }
}
