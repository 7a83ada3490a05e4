//! What a page of a list costs at any depth, by cursor: a sale of 1,000,000 items is walked from its beginning to its end, page
//! by page, and every page is timed. Beside it the last page by its number, which has to count its way there.

use super::Scenario;
use super::quiet::timed_get;
use crate::Outcome;
use crate::client::Client;
use crate::report::{Figure, median};
use crate::stage::{Cast, Stage, Terms};
use crate::suite::Suite;

pub(super) const LISTS: Scenario =
    Scenario { name: "lists", about: "pages of a list of 1,000,000 items, by cursor", run: play };

const ITEMS: u32 = 1_000_000;
/// Entries of a page: the most that there may be.
const LIMIT: u32 = 100;
/// The walk is told in so many parts.
const PARTS: usize = 10;
/// Milliseconds that a page may take.
const MUST_MS: f64 = 5.0;
/// A walk is 10,000 pages.
const RUNS: u16 = 3;

/// Milliseconds of a walk.
struct Walk {
    /// The median of all pages.
    median: f64,
    /// Of the pages of the slowest part: all but one in a hundred take no longer.
    slowest: f64,
    /// Which part that is, from 1.
    part: usize,
}

fn play(suite: &mut Suite) -> Outcome<()> {
    let stage = Stage::open(suite, Cast::Service(1))?;
    let sale = stage.sale(Terms { items: ITEMS, stock: 1, buyer_limit: 10 })?;
    let mut client = stage.client()?;
    // A sale so large has just been written, and the service has just read it: that settles first.
    walk(&mut client, &format!("/v2/sales/{sale}/items?limit={LIMIT}"))?;
    for (what, filter) in [("all items", ""), ("items that are left", "&available=true")] {
        let runs = 0..suite.options.runs.min(RUNS);
        let list = format!("/v2/sales/{sale}/items?limit={LIMIT}{filter}");
        let walks = runs.map(|_| walk(&mut client, &list)).collect::<Outcome<Vec<_>>>()?;
        let beside = format!(
            "median of all {:.2} ms; the slowest is part {} of {PARTS}",
            median(&walks.iter().map(|walk| walk.median).collect::<Vec<_>>()),
            walks.first().map_or(0, |walk| walk.part),
        );
        let slowest = walks.iter().map(|walk| walk.slowest).collect();
        let figure =
            Figure::new("lists", &format!("{what}: p99 of a page, slowest part"), "ms", slowest);
        suite.report.figure(figure.at_most(MUST_MS, MUST_MS).beside(beside));
    }
    let last = format!("/v2/sales/{sale}/items?limit={LIMIT}&page={}", ITEMS / LIMIT);
    let by_number = (0..suite.options.runs).map(|_| Ok(timed_get(&mut client, &last)?.0));
    let by_number = by_number.collect::<Outcome<Vec<_>>>()?;
    suite.report.figure(Figure::new("lists", "the last page, by its number", "ms", by_number));
    stage.close(&sale)
}

/// Walks the list to its end.
fn walk(client: &mut Client, list: &str) -> Outcome<Walk> {
    let (mut times, mut items, mut path) = (Vec::new(), 0, list.to_owned());
    loop {
        let (time, page) = timed_get(client, &path)?;
        times.push(time);
        items += page["data"].as_array().map_or(0, Vec::len);
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("{list}&cursor={cursor}");
    }
    if items != usize::try_from(ITEMS)? {
        return Err(format!("the walk met {items} items of {ITEMS}").into());
    }
    let all = median(&times);
    let length = times.len().div_ceil(PARTS);
    let slow =
        times.chunks(length).map(p99).enumerate().max_by(|one, other| one.1.total_cmp(&other.1));
    let (part, slowest) = slow.unwrap_or_default();
    Ok(Walk { median: all, slowest, part: part + 1 })
}

fn p99(times: &[f64]) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times.get((times.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default()
}
