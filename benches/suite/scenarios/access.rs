//! What tokens and rate limits cost.
//!
//! Tokens are signed with ES256 before the load begins; each is verified once and remembered then, as those of buyers who send more
//! than one request. Limits by buyer and by address are on and so high that none is reached; all requests come from one address,
//! whose bucket every request fills. The flow is measured in turns with and without both; the refusal of a sold-out item beside the
//! bare server.

use super::compared::{Compared, show};
use super::flow;
use super::refusal::{FIRST_BUYER, SOLD, sell};
use crate::database::Database;
use crate::environment::Environment;
use crate::issuer::{Issuer, key_set};
use crate::measure::Measured;
use crate::outcome::Outcome;
use crate::program::Program;
use crate::report::{Figure, median};
use crate::stage::{Stage, Terms, Topology};
use crate::suite::{Scenario, Suite};
use crate::traffic::{Checkouts, Shoppers, Tokens};

pub(super) const FLOW: Scenario = Scenario {
    name: "access-flow",
    about: "the flow with tokens (ES256) and limits by buyer and address, against without",
    run: play_flow,
};
pub(super) const REFUSAL: Scenario = Scenario {
    name: "access-refusal",
    about: "checkouts of a sold-out item, with tokens and limits",
    run: |suite| {
        let scenario = "access-refusal";
        Compared { scenario, of_bare: (0.55, 0.70), of_direct: None, redis_only: None }
            .play(suite, refusal)
    },
};

/// Buyers with a token each. An instance remembers 65,536 tokens.
const BUYERS: u64 = 20_000;
/// More than any client sends.
const LIMIT: &str = "1000000/s";
/// Targets: the part of the rate without.
const MUST: f64 = 0.85;
const AIM: f64 = 0.93;

fn play_flow(suite: &mut Suite) -> Outcome<()> {
    let environment = &suite.environment;
    let (mut off, mut on) = (Vec::new(), Vec::new());
    for _ in 0..environment.options.runs {
        off.push(flow_with(environment, None)?);
        on.push(flow_with(environment, Some(&Issuer::es256("bench")))?);
    }
    let rates = |runs: &[Measured]| runs.iter().map(Measured::rate).collect::<Vec<_>>();
    let base = median(&rates(&off));
    let ratios = rates(&on).iter().map(|rate| rate / base.max(f64::EPSILON)).collect();
    let beside = format!("{:.0}/s, without {base:.0}/s", median(&rates(&on)));
    let figure = Figure::new("access-flow", "with tokens and limits, of without", "x", ratios);
    suite.report.figure(figure.at_least(MUST, AIM).beside(beside));
    for (name, runs) in [("access-flow, without", off), ("access-flow, with", on)] {
        show(suite, "access-flow", name, runs);
    }
    Ok(())
}

fn flow_with(environment: &Environment, issuer: Option<&Issuer>) -> Outcome<Measured> {
    let stage = open(environment, issuer)?;
    let terms = Terms::PLENTY;
    let sale = stage.sale(terms)?;
    let connections = environment.options.connections.into();
    let run = environment.measure(&stage, |first_buyer| {
        let shoppers =
            Shoppers::new(&sale, flow::wants_of(terms, BUYERS), first_buyer, connections);
        match issuer {
            Some(issuer) => shoppers.with_tokens(Tokens::signed(issuer, first_buyer, BUYERS)),
            None => shoppers,
        }
    })?;
    stage.close(&sale)?;
    Ok(run)
}

fn refusal(environment: &Environment, _: Topology) -> Outcome<Measured> {
    let issuer = Issuer::es256("bench");
    let stage = open(environment, Some(&issuer))?;
    let sale = stage.sale(Terms { items: SOLD + 1, stock: 1, buyer_limit: 10 })?;
    sell(&stage, &sale, SOLD, Some(Tokens::signed(&issuer, FIRST_BUYER, SOLD.into())))?;
    let run = environment.measure(&stage, |first_buyer| {
        let tokens = Tokens::signed(&issuer, first_buyer, BUYERS);
        Checkouts::of(&sale, SOLD, first_buyer).with_tokens(tokens).refused(409, "item_sold_out")
    })?;
    stage.close(&sale)?;
    Ok(run)
}

/// An instance with tokens of this issuer and limits; without both, if there is none.
fn open(environment: &Environment, issuer: Option<&Issuer>) -> Outcome<Stage> {
    let keys = environment.folder.join("keys.json");
    let change = |program: Program, _: &Database| {
        let Some(issuer) = issuer else { return Ok(program) };
        std::fs::write(&keys, key_set(&[issuer]))?;
        let keys = keys.to_str().ok_or("a path is no text")?;
        let on = [("auth.buyers", "jwt"), ("auth.jwt.jwks_file", keys)];
        let limits = [("limits.buyer", LIMIT), ("limits.address", LIMIT)];
        Ok(program.set_all(&on).set_all(&limits))
    };
    Stage::open_with(environment, Topology::Service(1), change)
}
