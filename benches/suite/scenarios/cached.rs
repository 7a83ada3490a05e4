//! Lists from the read cache, and without it.
//!
//! Closed loop: front ends that read the list of ten sales, and a page of fifty items, as fast as they are answered; each with the
//! cache on and off, in turn with the bare server.

use super::compared::{Compared, show};
use crate::environment::Environment;
use crate::measure::Measured;
use crate::outcome::Outcome;
use crate::report::{Figure, median};
use crate::stage::{Stage, Terms, Topology};
use crate::suite::{Scenario, Suite};
use crate::traffic::Readers;

pub(super) const CACHED: Scenario = Scenario {
    name: "cached",
    about: "lists from the read cache, against a bare handler and against none",
    run: play,
};

/// Sales in the list.
const SALES: usize = 10;
/// Items of each.
const ITEMS: u32 = 1_000;
/// The cached list must reach this part of the bare handler's rate, and should reach the second.
const OF_BARE: (f64, f64) = (0.70, 0.85);

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    Sales,
    Items,
}

fn play(suite: &mut Suite) -> Outcome<()> {
    let cached = |environment: &Environment, _| read(environment, List::Sales, true);
    Compared { scenario: "cached", of_bare: OF_BARE, of_direct: None, redis_only: None }
        .play(suite, cached)?;
    let environment = &suite.environment;
    let mut bare = Vec::new();
    let (mut sales, mut items, mut cached_items) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..environment.options.runs {
        bare.push(environment.bare()?);
        sales.push(read(environment, List::Sales, false)?);
        items.push(read(environment, List::Items, false)?);
        cached_items.push(read(environment, List::Items, true)?);
    }
    let bare_rate = median(&rates(&bare)).max(f64::EPSILON);
    for (name, runs) in [
        ("sales without the cache, of bare", &sales),
        ("items without the cache, of bare", &items),
        ("items from the cache, of bare", &cached_items),
    ] {
        let ratios = rates(runs).into_iter().map(|rate| rate / bare_rate).collect();
        let beside = format!("{:.0}/s, bare {bare_rate:.0}/s", median(&rates(runs)));
        suite.report.figure(Figure::new("cached", name, "x", ratios).beside(beside));
    }
    show(suite, "cached", "sales without the cache", sales);
    show(suite, "cached", "items without the cache", items);
    show(suite, "cached", "items from the cache", cached_items);
    Ok(())
}

fn rates(runs: &[Measured]) -> Vec<f64> {
    runs.iter().map(Measured::rate).collect()
}

fn read(environment: &Environment, list: List, cached: bool) -> Outcome<Measured> {
    let stage = Stage::open_with(environment, Topology::Service(1), |program, _| {
        Ok(program.set("cache.enabled", if cached { "true" } else { "false" }))
    })?;
    let sales = (0..SALES).map(|_| stage.sale(Terms { items: ITEMS, stock: 1, buyer_limit: 10 }));
    let sales = sales.collect::<Outcome<Vec<_>>>()?;
    let first = sales.first().ok_or("no sale was created")?;
    let path = match list {
        List::Sales => "/v2/sales".to_owned(),
        List::Items => format!("/v2/sales/{first}/items"),
    };
    let run = environment.measure(&stage, |_| Readers::of(&path))?;
    stage.close_all()?;
    Ok(run)
}
