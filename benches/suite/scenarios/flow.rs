//! The whole way of buyers: one to three checkouts of one item each, then the purchase.
//!
//! Closed loop over all requests; a hundred thousand buyers who come again and again, ten thousand items of which nothing
//! sells out. Every answer was committed before it was given.

use super::{Compared, Scenario};
use crate::Outcome;
use crate::measure::Measured;
use crate::stage::{Cast, Stage, Terms};
use crate::suite::Suite;
use crate::traffic::{Shoppers, Wants};

pub(super) const FLOW: Scenario = Scenario {
    name: "flow",
    about: "one to three checkouts, then the purchase; all requests count",
    run: |suite| {
        let scenario = "flow";
        Compared { scenario, of_bare: (0.20, 0.30), of_direct: Some(6.0) }.play(suite, flow)
    },
};

/// Buyers that take part.
const BUYERS: u64 = 100_000;
/// Most checkouts before a purchase.
const LINES: u64 = 3;

/// What buyers of the flow want.
pub(super) fn wants(terms: Terms) -> Wants {
    Wants::Some { items: terms.items.into(), lines: LINES, buyers: BUYERS }
}

pub(super) fn flow(suite: &Suite, cast: Cast) -> Outcome<Measured> {
    let stage = Stage::open(suite, cast)?;
    let terms = Terms::PLENTY;
    let sale = stage.sale(terms)?;
    let connections = suite.options.connections.into();
    let run = suite.measure(&stage, |first_buyer| {
        Shoppers::new(&sale, wants(terms), first_buyer, connections)
    })?;
    stage.close(&sale)?;
    Ok(run)
}
