//! What tokens and rate limits cost.
//!
//! Tokens are signed with ES256 before the load begins; each is verified once and remembered then, as those of buyers who send more
//! than one request. Limits by buyer and by address are on and so high that none is reached; all requests come from one address,
//! whose bucket every request fills. The flow is played with a small limit by buyer as well, of which Redis is asked before each
//! request that sells. The flow is measured in turns with and without both; the refusal of a sold-out item beside the
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

/// Buyers with a token each, who send some twenty requests: each collects and buys again and again. An instance remembers 65,536
/// tokens.
const BUYERS: u64 = 5_000;
/// The limit by address.
const BY_ADDRESS: &str = "1000000/s";
/// The limits by buyer: one of which a part is counted a moment later, and that of an ordinary shop.
const LARGE: &str = "1000/s burst 5000";
const SMALL: &str = "20/s burst 40";
/// Targets: the part of the rate without.
const MUST: f64 = 0.85;
const AIM: f64 = 0.93;

fn play_flow(suite: &mut Suite) -> Outcome<()> {
    let environment = &suite.environment;
    let (mut off, mut on, mut small) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..environment.options.runs {
        off.push(flow_with(environment, None)?);
        on.push(flow_with(environment, Some((&Issuer::es256("bench"), LARGE)))?);
        small.push(flow_with(environment, Some((&Issuer::es256("bench"), SMALL)))?);
    }
    let rates = |runs: &[Measured]| runs.iter().map(Measured::rate).collect::<Vec<_>>();
    let base = median(&rates(&off));
    let figure = |what: &str, runs: &[Measured]| {
        let ratios = rates(runs).iter().map(|rate| rate / base.max(f64::EPSILON)).collect();
        let beside = format!("{:.0}/s, without {base:.0}/s", median(&rates(runs)));
        Figure::new("access-flow", what, "x", ratios).beside(beside)
    };
    let large = figure("with tokens and limits, of without", &on).at_least(MUST, AIM);
    let ordinary = figure("with a small limit by buyer, of without", &small);
    suite.report.figure(large);
    suite.report.figure(ordinary);
    let runs = [("without", off), ("with", on), ("with a small limit", small)];
    for (name, runs) in runs {
        show(suite, "access-flow", &format!("access-flow, {name}"), runs);
    }
    Ok(())
}

/// The flow with the tokens of an issuer, and with a limit by buyer and one by address.
fn flow_with(environment: &Environment, access: Option<(&Issuer, &str)>) -> Outcome<Measured> {
    let stage = open(environment, access)?;
    let terms = Terms::PLENTY;
    let sale = stage.sale(terms)?;
    let connections = environment.options.connections.into();
    let run = environment.measure(&stage, |first_buyer| {
        let shoppers =
            Shoppers::new(&sale, flow::wants_of(terms, BUYERS), first_buyer, connections);
        match access {
            Some((issuer, _)) => shoppers.with_tokens(Tokens::signed(issuer, first_buyer, BUYERS)),
            None => shoppers,
        }
    })?;
    stage.close(&sale)?;
    Ok(run)
}

fn refusal(environment: &Environment, _: Topology) -> Outcome<Measured> {
    let issuer = Issuer::es256("bench");
    let stage = open(environment, Some((&issuer, SMALL)))?;
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
fn open(environment: &Environment, access: Option<(&Issuer, &str)>) -> Outcome<Stage> {
    let keys = environment.folder.join("keys.json");
    let change = |program: Program, _: &Database| {
        let Some((issuer, by_buyer)) = access else { return Ok(program) };
        std::fs::write(&keys, key_set(&[issuer]))?;
        let keys = keys.to_str().ok_or("a path is no text")?;
        let on = [("auth.buyers", "jwt"), ("auth.jwt.jwks_file", keys)];
        let limits = [("limits.buyer", by_buyer), ("limits.address", BY_ADDRESS)];
        Ok(program.set_all(&on).set_all(&limits))
    };
    Stage::open_with(environment, Topology::Service(1), change)
}
