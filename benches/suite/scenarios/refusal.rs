//! Refusals that need no I/O: nearly all of a flash sale's traffic.
//!
//! Closed loop, a new buyer each time. The first three are checkouts that the instance refuses from memory, the last are purchases
//! whose code is not signed. The measured time includes recording the refusals.

use super::compared::Compared;
use crate::environment::Environment;
use crate::generator::{Class, Plan, Traffic, closed};
use crate::measure::{Measured, without_failures};
use crate::outcome::Outcome;
use crate::stage::{Stage, Terms, Topology};
use crate::suite::Scenario;
use crate::traffic::{Checkouts, Code, Forgers, Shoppers, Tokens, Wants};
use std::time::Duration;

pub(super) const ITEM: Scenario = Scenario {
    name: "refusal-item",
    about: "checkouts of an item that is sold out, while others are left",
    run: |suite| compared("refusal-item").play(suite, item),
};
pub(super) const SALE: Scenario = Scenario {
    name: "refusal-sale",
    about: "checkouts in a sale of which nothing is left",
    run: |suite| compared("refusal-sale").play(suite, sale),
};
pub(super) const ENDED: Scenario = Scenario {
    name: "refusal-ended",
    about: "checkouts in a sale that has ended",
    run: |suite| compared("refusal-ended").play(suite, ended),
};
pub(super) const FORGED: Scenario = Scenario {
    name: "refusal-forged",
    about: "purchases with a well-formed code that is not signed",
    run: |suite| compared("refusal-forged").play(suite, forged),
};

/// Items that are sold before the first two scenarios begin.
pub(super) const SOLD: u32 = 1_000;
/// Maximum time for selling them.
const SELLING: Duration = Duration::from_mins(1);
const SELLING_CONNECTIONS: usize = 64;
/// The first of those who buy them.
pub(super) const FIRST_BUYER: u64 = 1;

fn compared(scenario: &'static str) -> Compared {
    Compared { scenario, of_bare: (0.80, 0.90), of_direct: None, redis_only: None }
}

fn item(environment: &Environment, topology: Topology) -> Outcome<Measured> {
    sold_out(environment, topology, SOLD + 1, "item_sold_out")
}

fn sale(environment: &Environment, topology: Topology) -> Outcome<Measured> {
    sold_out(environment, topology, SOLD, "sale_sold_out")
}

fn sold_out(
    environment: &Environment,
    topology: Topology,
    items: u32,
    refusal: &'static str,
) -> Outcome<Measured> {
    let stage = Stage::open(environment, topology)?;
    let sale = stage.sale(Terms { items, stock: 1, buyer_limit: 10 })?;
    sell(&stage, &sale, SOLD, None)?;
    let run = environment.measure(&stage, |first_buyer| {
        Checkouts::of(&sale, SOLD, first_buyer).refused(409, refusal)
    })?;
    stage.close(&sale)?;
    Ok(run)
}

fn ended(environment: &Environment, topology: Topology) -> Outcome<Measured> {
    let stage = Stage::open(environment, topology)?;
    let sale = stage.sale_lasting(Terms { items: SOLD, stock: 1, buyer_limit: 10 }, "1s")?;
    let mut client = stage.client()?;
    let asks = |client: &mut crate::client::Client| {
        client.post(&format!("/checkout?user_id=late&item_id=1&sale_id={sale}"))
    };
    while asks(&mut client)?.status != 410 {
        std::thread::sleep(Duration::from_millis(50));
    }
    let run = environment.measure(&stage, |first_buyer| {
        Checkouts::of(&sale, SOLD, first_buyer).refused(410, "sale_ended")
    })?;
    stage.close(&sale)?;
    Ok(run)
}

fn forged(environment: &Environment, topology: Topology) -> Outcome<Measured> {
    let stage = Stage::open(environment, topology)?;
    let sale = stage.sale(Terms { items: SOLD, stock: 1, buyer_limit: 10 })?;
    let target = format!("/checkout?user_id=ann&item_id=1&sale_id={sale}");
    let code = stage.client()?.post(&target)?.expect(200)?.field("code")?;
    let code = Code::new(code.as_bytes()).ok_or("a code is too long")?;
    let run = environment.measure(&stage, |first_buyer| Forgers::of(code, first_buyer))?;
    stage.close(&sale)?;
    Ok(run)
}

/// Sells the first items of a sale with one piece of each, to buyers with tokens if there are some.
pub(super) fn sell(stage: &Stage, sale: &str, items: u32, tokens: Option<Tokens>) -> Outcome<()> {
    let plan = Plan {
        targets: stage.instances.iter().map(|instance| instance.http).collect(),
        connections: SELLING_CONNECTIONS,
        warm_up: Duration::ZERO,
        measured: SELLING,
    };
    let wants = Wants::Own { items: items.into() };
    let mut shoppers = Shoppers::new(sale, wants, FIRST_BUYER, SELLING_CONNECTIONS);
    if let Some(tokens) = tokens {
        shoppers = shoppers.with_tokens(tokens);
    }
    let load = closed::run(&plan, vec![Box::new(shoppers) as Box<dyn Traffic>], &|_| {})?;
    without_failures(&load.tally)?;
    let (sold, accepted) = (stage.sold(sale)?, load.tally.count(Class::Accepted));
    if sold == u64::from(items) {
        return Ok(());
    }
    Err(format!("{sold} pieces are sold after {accepted} accepted requests, not {items}").into())
}
