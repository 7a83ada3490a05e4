//! A report as JSON: what `sale_reports` and the event of the end hold, and what the command line prints.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::ids::SaleId;
use crate::domain::sale::SaleWindow;
use crate::domain::sale_report::{Interval, Peak, SaleReport};

/// The members, in the order in which they are printed. Members may be added, never renamed or retyped.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    sale_id: String,
    name: String,
    starts_at: DateTime<Utc>,
    ends_at: DateTime<Utc>,
    as_of: DateTime<Utc>,
    r#final: bool,
    pieces: i64,
    sold: i64,
    /// Reports of earlier releases have none.
    #[serde(default)]
    cancelled: i64,
    buyers: i64,
    checkouts: i64,
    purchases: i64,
    unsuccessful_purchases: i64,
    refusals: BTreeMap<String, i64>,
    refusals_with_time: i64,
    sold_out_at: Option<DateTime<Utc>>,
    seconds_to_sell_out: Option<f64>,
    peak_sold_per_second: i64,
    peak_second: Option<PeakDocument>,
    slowest_second: Option<SlowestDocument>,
    per_second: Vec<IntervalDocument>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PeakDocument {
    second: i64,
    at: DateTime<Utc>,
    sold: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct SlowestDocument {
    at: DateTime<Utc>,
    #[serde(flatten)]
    interval: IntervalDocument,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct IntervalDocument {
    second: i64,
    seconds: i64,
    sold: i64,
    purchases: i64,
    checkouts: i64,
    refusals: i64,
}

/// The report as JSON.
pub(crate) fn write(report: &SaleReport) -> Value {
    let document = Document {
        sale_id: report.sale.to_string(),
        name: report.name.clone(),
        starts_at: report.window.starts_at(),
        ends_at: report.window.ends_at(),
        as_of: report.as_of,
        r#final: report.is_final,
        pieces: report.pieces,
        sold: report.sold,
        cancelled: report.cancelled,
        buyers: report.buyers,
        checkouts: report.checkouts,
        purchases: report.purchases,
        unsuccessful_purchases: report.unsuccessful,
        refusals: report.refusals.clone(),
        refusals_with_time: report.refusals_detailed,
        sold_out_at: report.sold_out_at,
        seconds_to_sell_out: report.time_to_sell_out().map(seconds),
        peak_sold_per_second: report.peak.map_or(0, |peak| peak.sold),
        peak_second: report.peak.map(|peak| PeakDocument {
            second: peak.second,
            at: report.moment(peak.second),
            sold: peak.sold,
        }),
        slowest_second: report.slowest.map(|slowest| SlowestDocument {
            at: report.moment(slowest.second),
            interval: slowest.into(),
        }),
        per_second: report.intervals.iter().map(|interval| (*interval).into()).collect(),
    };
    // Strings and numbers alone, which always have a JSON form.
    serde_json::to_value(document).unwrap_or_default()
}

/// The report that such a JSON text describes; `None` for anything else.
pub(crate) fn read(text: &str) -> Option<SaleReport> {
    let document: Document = serde_json::from_str(text).ok()?;
    Some(SaleReport {
        sale: SaleId::parse(&document.sale_id)?,
        name: document.name,
        window: SaleWindow::new(document.starts_at, document.ends_at)?,
        as_of: document.as_of,
        is_final: document.r#final,
        pieces: document.pieces,
        sold: document.sold,
        cancelled: document.cancelled,
        buyers: document.buyers,
        checkouts: document.checkouts,
        purchases: document.purchases,
        unsuccessful: document.unsuccessful_purchases,
        refusals: document.refusals,
        refusals_detailed: document.refusals_with_time,
        sold_out_at: document.sold_out_at,
        peak: document.peak_second.map(|peak| Peak { second: peak.second, sold: peak.sold }),
        slowest: document.slowest_second.map(|slowest| slowest.interval.into()),
        intervals: document.per_second.into_iter().map(Interval::from).collect(),
    })
}

/// Seconds with milliseconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "the longest sale has far less than 2^53 milliseconds"
)]
fn seconds(time: chrono::Duration) -> f64 {
    time.num_milliseconds() as f64 / 1_000.0
}

impl From<Interval> for IntervalDocument {
    fn from(interval: Interval) -> Self {
        let Interval { second, seconds, sold, purchases, checkouts, refusals } = interval;
        Self { second, seconds, sold, purchases, checkouts, refusals }
    }
}

impl From<IntervalDocument> for Interval {
    fn from(document: IntervalDocument) -> Self {
        let IntervalDocument { second, seconds, sold, purchases, checkouts, refusals } = document;
        Self { second, seconds, sold, purchases, checkouts, refusals }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::builders::{at, sale_id};

    fn a_report() -> SaleReport {
        let interval =
            Interval { second: 3, seconds: 1, sold: 4, purchases: 2, checkouts: 5, refusals: 6 };
        SaleReport {
            sale: sale_id(33),
            name: "a sale".to_owned(),
            window: SaleWindow::lasting(at(0), Duration::from_hours(1)).unwrap(),
            as_of: at(3_700),
            is_final: true,
            pieces: 9,
            sold: 9,
            cancelled: 1,
            buyers: 3,
            checkouts: 5,
            purchases: 4,
            unsuccessful: 1,
            refusals: [("item_sold_out".to_owned(), 7)].into(),
            refusals_detailed: 6,
            sold_out_at: Some(at(3) + chrono::Duration::milliseconds(125)),
            peak: Some(Peak { second: 3, sold: 4 }),
            slowest: Some(interval),
            intervals: vec![interval],
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let nothing = SaleReport {
            sold_out_at: None,
            peak: None,
            slowest: None,
            intervals: Vec::new(),
            ..a_report()
        };
        for report in [a_report(), nothing] {
            assert_eq!(read(&write(&report).to_string()), Some(report));
        }
    }

    #[test]
    fn the_members_have_the_names_that_others_read() {
        let document = write(&a_report());

        assert_eq!(document["sale_id"], "S-11");
        assert_eq!(document["final"], true);
        assert_eq!(document["seconds_to_sell_out"], 3.125);
        assert_eq!(document["peak_sold_per_second"], 4);
        assert_eq!(document["slowest_second"]["at"], "1970-01-01T00:00:03Z");
        assert_eq!(document["slowest_second"]["sold"], 4);
        assert_eq!(document["per_second"][0]["refusals"], 6);
    }

    #[test]
    fn another_document_is_no_report() {
        assert_eq!(read("{\"sale_id\":\"S-1\"}"), None);
        assert_eq!(read("nonsense"), None);
    }
}
