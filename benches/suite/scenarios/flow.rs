//! Complete visits of buyers: one to three checkouts of one item each, then the purchase.
//!
//! Closed loop over all requests; a hundred thousand buyers who come again and again, and ten thousand items, none of which sells
//! out. Every effect is committed before its response.

use super::compared::{Compared, RedisOnly};
use crate::baselines::redis_only::Flush;
use crate::environment::Environment;
use crate::measure::Measured;
use crate::outcome::Outcome;
use crate::stage::{Stage, Terms, Topology};
use crate::suite::Scenario;
use crate::traffic::{Shoppers, Wants};

pub(super) const FLOW: Scenario = Scenario {
    name: "flow",
    about: "one to three checkouts, then the purchase; all requests count",
    run: |suite| {
        let scenario = "flow";
        let (of_direct, redis_only) = (Some(6.0), Some(redis_only as RedisOnly));
        Compared { scenario, of_bare: (0.20, 0.30), of_direct, redis_only }.play(suite, flow)
    },
};

/// Number of buyers.
const BUYERS: u64 = 100_000;
/// Maximum number of checkouts before a purchase.
const LINES: u64 = 3;

/// What buyers of the flow want.
pub(super) fn wants(terms: Terms) -> Wants {
    wants_of(terms, BUYERS)
}

/// The same with another number of buyers.
pub(super) fn wants_of(terms: Terms, buyers: u64) -> Wants {
    Wants::Some { items: terms.items.into(), lines: LINES, buyers }
}

pub(super) fn flow(environment: &Environment, topology: Topology) -> Outcome<Measured> {
    let stage = Stage::open(environment, topology)?;
    let terms = Terms::PLENTY;
    let sale = stage.sale(terms)?;
    let connections = environment.options.connections.into();
    let run = environment.measure(&stage, |first_buyer| {
        Shoppers::new(&sale, wants(terms), first_buyer, connections)
    })?;
    stage.close(&sale)?;
    Ok(run)
}

fn redis_only(environment: &Environment, flush: Flush) -> Outcome<Measured> {
    let terms = Terms::PLENTY;
    let connections = environment.options.connections.into();
    environment.redis_only((flush, terms), |first_buyer| {
        Shoppers::new("S-1", wants(terms), first_buyer, connections)
    })
}
