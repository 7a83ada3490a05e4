//! What PostgreSQL and Redis could do alone: where the service's own share begins.
//!
//! Checkouts of new buyers and purchases of what they collected, in batches of 128 and one after the other, as one writer
//! of a busy service sends them; of Redis, the locks of such purchases. There is no target: it is there to be compared
//! with `checkout` and `flow`.

use super::Scenario;
use crate::Outcome;
use crate::baselines::floor;
use crate::report::{Figure, say};
use crate::stage::{Cast, Stage, Terms};
use crate::suite::Suite;

pub(super) const FLOOR: Scenario = Scenario {
    name: "floor",
    about: "checkouts and purchases a second of PostgreSQL alone, purchases of Redis alone",
    run: play,
};

fn play(suite: &mut Suite) -> Outcome<()> {
    let (mut checkouts, mut purchases, mut redis) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..suite.options.runs {
        let stage = Stage::open(suite, Cast::Service(0))?;
        stage.sale(Terms { buyer_limit: 10, ..Terms::PLENTY })?;
        match floor::postgres::measure(&stage.database, suite.options.seconds, &suite.folder)? {
            Some(rates) => {
                checkouts.push(rates.checkouts);
                purchases.push(rates.purchases);
            }
            None => say("# floor: pgbench is not here: PostgreSQL alone is not measured"),
        }
        redis.push(floor::redis::measure(&suite.options.redis_url, suite.options.seconds)?);
    }
    for (what, rates) in [
        ("PostgreSQL alone, checkouts", checkouts),
        ("PostgreSQL alone, purchases", purchases),
        ("Redis alone, purchases", redis),
    ] {
        if !rates.is_empty() {
            suite.report.figure(Figure::new("floor", what, "/s", rates));
        }
    }
    Ok(())
}
