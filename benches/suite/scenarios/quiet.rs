//! Latency for a single buyer: no batch may wait for further requests.
//!
//! One request at a time over one connection, with a pause before each, so that every thread of every process is asleep.

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::environment::Environment;
use crate::outcome::Outcome;
use crate::report::{Figure, median};
use crate::stage::{Stage, Terms, Topology};
use crate::suite::{Scenario, Suite};

pub(super) const QUIET: Scenario =
    Scenario { name: "quiet", about: "latency of single requests with pauses between", run: play };

/// Requests of each kind in a run.
const ROUNDS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// Medians in milliseconds.
struct Waits {
    refusal: f64,
    checkout: f64,
    purchase: f64,
}

fn play(suite: &mut Suite) -> Outcome<()> {
    let runs = (0..suite.environment.options.runs)
        .map(|_| quiet(&suite.environment))
        .collect::<Outcome<Vec<_>>>()?;
    let figure = |what, of: fn(&Waits) -> f64, must: f64| {
        let figure = Figure::new("quiet", what, "ms", runs.iter().map(of).collect());
        figure.at_most(must, must / 2.0)
    };
    suite.report.figure(figure("p50 of a refusal", |waits| waits.refusal, 1.0));
    suite.report.figure(figure("p50 of a checkout", |waits| waits.checkout, 1.5));
    suite.report.figure(figure("p50 of a purchase", |waits| waits.purchase, 2.5));
    Ok(())
}

fn quiet(environment: &Environment) -> Outcome<Waits> {
    let stage = Stage::open(environment, Topology::Service(1))?;
    let sale = stage.sale(Terms { items: ROUNDS + 2, stock: 1, buyer_limit: 10 })?;
    let mut client = stage.client()?;
    let checkout =
        |buyer: u32, item: u32| format!("/checkout?user_id=b{buyer}&item_id={item}&sale_id={sale}");
    let code = client.post(&checkout(0, 1))?.expect(200)?.field("code")?;
    client.post(&format!("/purchase?code={code}"))?.expect(200)?;
    let (mut refusals, mut checkouts, mut purchases) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        refusals.push(timed(&mut client, &checkout(round, 1), 409)?.0);
        let (time, body) = timed(&mut client, &checkout(round, round + 1), 200)?;
        checkouts.push(time);
        let body: serde_json::Value = serde_json::from_str(&body)?;
        let code = body["code"].as_str().ok_or("a checkout without a code")?;
        purchases.push(timed(&mut client, &format!("/purchase?code={code}"), 200)?.0);
    }
    stage.close(&sale)?;
    let (refusal, checkout) = (median(&refusals), median(&checkouts));
    Ok(Waits { refusal, checkout, purchase: median(&purchases) })
}

/// Reads a page. Returns the time in milliseconds, and the page.
pub(super) fn timed_get(client: &mut Client, target: &str) -> Outcome<(f64, serde_json::Value)> {
    let start = Instant::now();
    let answer = client.get(target)?;
    let waited = start.elapsed().as_secs_f64() * 1e3;
    Ok((waited, answer.expect(200)?.json()?))
}

/// Sends a request. Returns the time in milliseconds, and the body of the response.
fn timed(client: &mut Client, target: &str, status: u16) -> Outcome<(f64, String)> {
    std::thread::sleep(PAUSE);
    let start = Instant::now();
    let answer = client.post(target)?;
    let waited = start.elapsed().as_secs_f64() * 1e3;
    Ok((waited, answer.expect(status)?.body))
}
