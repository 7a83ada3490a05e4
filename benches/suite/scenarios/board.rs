//! How soon the other instances know that an item is sold out.
//!
//! The last piece of an item is bought at one of three instances. A pause after the response has arrived, a checkout of the item
//! is sent once to each of the others. An instance that still has to ask PostgreSQL counts a batch of checkouts
//! (`flash_sale_batch_size`); one that refuses from memory counts none. Since an instance learns from PostgreSQL's reply, each
//! item is tried once, and the pause is varied instead: p99 is the shortest pause of the ladder from which on, in 99 of a hundred
//! rounds, both others refused from memory.

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::generator::tally;
use crate::instance::Instance;
use crate::outcome::Outcome;
use crate::report::Figure;
use crate::stage::{Stage, Terms, Topology};
use crate::suite::{Scenario, Suite};

pub(super) const BOARD: Scenario = Scenario {
    name: "board",
    about: "time until all other instances refuse a sold-out item from memory",
    run: play,
};

/// Pauses in milliseconds. The last one shows by how much the target is missed, if it is.
const LADDER: [u64; 9] = [0, 1, 2, 3, 5, 10, 20, 50, 200];
/// Longer pauses are not tried after this many in a row with which all instances knew in every round.
const SURE: usize = 2;
/// Items sold for each pause.
const ROUNDS: u32 = 200;
const INSTANCES: usize = 3;
/// Counts batches of checkouts: checkouts that the sale cache did not refuse.
const BATCHES: (&str, &str) = ("flash_sale_batch_size_count", r#"queue="checkout""#);

/// Share of the rounds in which all others knew, by pause.
type Known = Vec<(u64, f64)>;

fn play(suite: &mut Suite) -> Outcome<()> {
    let stage = Stage::open(&suite.environment, Topology::Service(INSTANCES))?;
    let items = ROUNDS * u32::try_from(LADDER.len())? + 1;
    let sale = stage.sale(Terms { items, stock: 1, buyer_limit: 10 })?;
    let mut known = Known::new();
    verify_that_checkouts_count(&stage, &sale, items)?;
    let mut item = 0;
    for pause in LADDER {
        let sure = known.iter().rev().take(SURE).filter(|(_, share)| *share >= 1.0).count();
        if sure == SURE {
            break;
        }
        let mut rounds = 0;
        for _ in 0..ROUNDS {
            item += 1;
            rounds += u64::from(all_know(&stage, &sale, item, Duration::from_millis(pause))?);
        }
        known.push((pause, tally::float(rounds) / f64::from(ROUNDS)));
    }
    stage.close(&sale)?;
    let shares: Vec<String> =
        known.iter().map(|(pause, share)| format!("{pause} ms {:.1} %", share * 100.0)).collect();
    for (what, share, must) in [("p50", 0.50, 50.0), ("p99", 0.99, 50.0)] {
        let figure = Figure::new(
            "board",
            &format!("slowest other knows, {what}"),
            "ms",
            vec![first_with(&known, share)],
        );
        suite.report.figure(figure.at_most(must, must).beside(shares.join(", ")));
    }
    Ok(())
}

/// Verifies that the metric, on which the figure is based, counts a checkout of an item that is not sold out.
fn verify_that_checkouts_count(stage: &Stage, sale: &str, item: u32) -> Outcome<()> {
    for (at, instance) in stage.instances.iter().enumerate() {
        let before = batches(std::slice::from_ref(instance))?;
        let checkout = format!("/checkout?user_id=c{at}&item_id={item}&sale_id={sale}");
        Client::connect(instance.http)?.post(&checkout)?.expect(200)?;
        if batches(std::slice::from_ref(instance))? <= before {
            return Err(format!("{} does not count", BATCHES.0).into());
        }
    }
    Ok(())
}

/// Sells an item at the first instance. Returns whether the others refuse it from memory after the pause.
fn all_know(stage: &Stage, sale: &str, item: u32, pause: Duration) -> Outcome<bool> {
    let [first, others @ ..] = &stage.instances[..] else { return Err("no instances".into()) };
    let before = batches(others)?;
    let probes = others.iter().map(|other| Client::connect(other.http));
    let mut probes = probes.collect::<Outcome<Vec<_>>>()?;
    let checkout =
        |buyer: &str| format!("/checkout?user_id={buyer}{item}&item_id={item}&sale_id={sale}");
    let mut buyer = Client::connect(first.http)?;
    let code = buyer.post(&checkout("b"))?.expect(200)?.field("code")?;
    buyer.post(&format!("/purchase?code={code}"))?.expect(200)?;
    let sold = Instant::now();
    std::thread::sleep(pause.saturating_sub(sold.elapsed()));
    for probe in &mut probes {
        probe.post(&checkout("late"))?.expect(409)?;
    }
    Ok(batches(others)? <= before)
}

fn batches(instances: &[Instance]) -> Outcome<f64> {
    let counts = instances.iter().map(|instance| instance.metric(BATCHES.0, BATCHES.1));
    Ok(counts.collect::<Outcome<Vec<_>>>()?.iter().sum())
}

/// The shortest pause from which on this share of the rounds succeeded; infinite if none is long enough.
fn first_with(known: &Known, share: f64) -> f64 {
    let fails = known.iter().rposition(|(_, well)| *well < share);
    let first = known.get(fails.map_or(0, |at| at + 1));
    first.map_or(f64::INFINITY, |(pause, _)| tally::float(*pause))
}
