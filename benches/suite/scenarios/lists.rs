//! The time of a page of a list at any depth, by cursor: a sale of 1,000,000 items is read from its beginning to its end, page by
//! page, and every page is timed. For comparison, the last page by its number, for which all entries before it are counted.

use super::quiet::timed_get;
use crate::client::Client;
use crate::outcome::Outcome;
use crate::report::{Figure, median};
use crate::stage::{Stage, Terms, Topology};
use crate::suite::{Scenario, Suite};

pub(super) const LISTS: Scenario =
    Scenario { name: "lists", about: "pages of a list of 1,000,000 items, by cursor", run: play };

const ITEMS: u32 = 1_000_000;
/// Entries of a page: the maximum.
const LIMIT: u32 = 100;
/// Number of parts of the walk that are reported.
const PARTS: usize = 10;
/// Target: maximum milliseconds of a page.
const MUST_MS: f64 = 5.0;
/// Maximum number of runs, because a walk is 10,000 pages.
const RUNS: u16 = 3;

/// Times of a walk, in milliseconds.
struct Walk {
    /// The median of all pages.
    median: f64,
    /// The p99 of the slowest part.
    slowest: f64,
    /// The number of that part, from 1.
    part: usize,
}

fn play(suite: &mut Suite) -> Outcome<()> {
    let stage = Stage::open(&suite.environment, Topology::Service(1))?;
    let sale = stage.sale(Terms { items: ITEMS, stock: 1, buyer_limit: 10 })?;
    let mut client = stage.client()?;
    // Without a first walk, the writes of so large a sale would still be in progress.
    walk(&mut client, &format!("/v2/sales/{sale}/items?limit={LIMIT}"))?;
    for (what, filter) in [("all items", ""), ("items that are left", "&available=true")] {
        let runs = 0..suite.environment.options.runs.min(RUNS);
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
    let by_number =
        (0..suite.environment.options.runs).map(|_| Ok(timed_get(&mut client, &last)?.0));
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
        return Err(format!("the walk found {items} items of {ITEMS}").into());
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
