//! Checkouts that are accepted: each is in PostgreSQL for good before its answer.
//!
//! Closed loop; a new buyer each time collects one random item of ten thousand, of which nothing sells out.

use super::{Compared, Scenario};
use crate::Outcome;
use crate::measure::Measured;
use crate::stage::{Cast, Stage, Terms};
use crate::suite::Suite;
use crate::traffic::Checkouts;

pub(super) const CHECKOUT: Scenario = Scenario {
    name: "checkout",
    about: "accepted checkouts of one item each, by a new buyer each time",
    run: |suite| {
        let scenario = "checkout";
        Compared { scenario, of_bare: (0.25, 0.40), of_direct: Some(6.0) }.play(suite, checkout)
    },
};

fn checkout(suite: &Suite, cast: Cast) -> Outcome<Measured> {
    let stage = Stage::open(suite, cast)?;
    let terms = Terms { buyer_limit: 10, ..Terms::PLENTY };
    let sale = stage.sale(terms)?;
    let run =
        suite.measure(&stage, |first_buyer| Checkouts::of(&sale, terms.items, first_buyer))?;
    stage.close(&sale)?;
    Ok(run)
}
