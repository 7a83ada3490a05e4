//! Accepted checkouts: each is committed before its response.
//!
//! Closed loop; a new buyer each time collects one random item of ten thousand, none of which sells out.

use super::compared::Compared;
use crate::environment::Environment;
use crate::measure::Measured;
use crate::outcome::Outcome;
use crate::stage::{Stage, Terms, Topology};
use crate::suite::Scenario;
use crate::traffic::Checkouts;

pub(super) const CHECKOUT: Scenario = Scenario {
    name: "checkout",
    about: "accepted checkouts of one item each, by a new buyer each time",
    run: |suite| {
        let scenario = "checkout";
        let of_direct = Some(6.0);
        Compared { scenario, of_bare: (0.25, 0.40), of_direct, redis_only: None }
            .play(suite, checkout)
    },
};

fn checkout(environment: &Environment, topology: Topology) -> Outcome<Measured> {
    let stage = Stage::open(environment, topology)?;
    let terms = Terms { buyer_limit: 10, ..Terms::PLENTY };
    let sale = stage.sale(terms)?;
    let run = environment
        .measure(&stage, |first_buyer| Checkouts::of(&sale, terms.items, first_buyer))?;
    stage.close(&sale)?;
    Ok(run)
}
