//! How soon a cancelled purchase is on sale again on three instances.
//!
//! The only piece of an item is bought, and all three instances refuse it from memory. While a buyer asks each of them for it every
//! millisecond, an operator cancels the purchase by a command. The time of an instance is that from `cancelled_at`, which the command read
//! from PostgreSQL's clock before its commit, to the first checkout that the instance accepts; PostgreSQL and this program share a
//! clock. The slowest of the three counts.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::client::Client;
use crate::outcome::{Failure, Outcome};
use crate::report::Figure;
use crate::stage::{Stage, Terms, Topology};
use crate::suite::{Scenario, Suite};

pub(super) const RETURNS: Scenario = Scenario {
    name: "returns",
    about: "time from a cancellation until three instances sell the piece again",
    run: play,
};

const INSTANCES: usize = 3;
const ROUNDS: u32 = 100;
/// Targets for p99, in milliseconds.
const MUST_MS: f64 = 100.0;
const AIM_MS: f64 = 30.0;
/// Pause between two probes: without it the three of them would take all of the machine from the command.
const PAUSE: Duration = Duration::from_millis(1);
/// A piece that is not on sale again after this time never will be.
const PATIENCE: Duration = Duration::from_secs(10);

fn play(suite: &mut Suite) -> Outcome<()> {
    let stage = Stage::open(&suite.environment, Topology::Service(INSTANCES))?;
    let sale = stage.sale(Terms { items: ROUNDS, stock: 1, buyer_limit: 1_000 })?;
    let mut times = Vec::new();
    for item in 1..=ROUNDS {
        times.push(round(&stage, &sale, item)?);
    }
    stage.close(&sale)?;
    times.sort_by(f64::total_cmp);
    let quantile = |hundredth: usize| {
        let place = (times.len() * hundredth).div_ceil(100).saturating_sub(1);
        times.get(place).copied().unwrap_or(f64::INFINITY)
    };
    for (what, hundredth) in [("p50", 50), ("p99", 99)] {
        let what = format!("cancel to on sale on three instances, {what}");
        let figure = Figure::new("returns", &what, "ms", vec![quantile(hundredth)]);
        suite.report.figure(figure.at_most(MUST_MS, AIM_MS));
    }
    Ok(())
}

/// Cancels the purchase of an item. Returns the milliseconds until the last instance sold it.
fn round(stage: &Stage, sale: &str, item: u32) -> Outcome<f64> {
    let path = |buyer: &str| format!("/checkout?user_id={buyer}&item_id={item}&sale_id={sale}");
    let mut buyer = stage.client()?;
    let code = buyer.post(&path("first"))?.expect(200)?.field("code")?;
    buyer.post(&format!("/purchase?code={code}"))?.expect(200)?;
    let (sender, receiver) = mpsc::channel::<Outcome<SystemTime>>();
    for (at, instance) in stage.instances.iter().enumerate() {
        let (path, sender) = (path(&format!("next{at}")), sender.clone());
        let mut probe = Client::connect(instance.http)?;
        probe.post(&path)?.expect(409)?;
        let address = instance.http;
        std::thread::spawn(move || sender.send(first_accepted(address, &path)));
    }
    let printed = stage.program.run(&["purchase", "cancel", &code, "--output", "json"])?;
    let cancelled: Value = serde_json::from_str(&printed)?;
    let cancelled_at: DateTime<Utc> =
        cancelled["cancelled_at"].as_str().ok_or("no time of the cancellation")?.parse()?;
    let mut slowest = Duration::ZERO;
    for _ in 0..INSTANCES {
        let accepted = receiver.recv_timeout(PATIENCE).map_err(Failure::from)??;
        let time = accepted.duration_since(SystemTime::from(cancelled_at)).unwrap_or_default();
        slowest = slowest.max(time);
    }
    Ok(slowest.as_secs_f64() * 1_000.0)
}

/// Asks for the item until a checkout is accepted. Returns when that was.
fn first_accepted(address: SocketAddr, path: &str) -> Outcome<SystemTime> {
    let mut client = Client::connect(address)?;
    loop {
        let answer = client.post(path)?;
        if answer.status == 200 {
            return Ok(now());
        }
        answer.expect(409)?;
        std::thread::sleep(PAUSE);
    }
}

/// The moment by this machine's clock, which PostgreSQL uses too.
#[expect(clippy::disallowed_methods, reason = "it is compared with PostgreSQL's clock")]
fn now() -> SystemTime {
    SystemTime::now()
}
