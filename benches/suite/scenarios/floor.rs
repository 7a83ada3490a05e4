//! The throughput of PostgreSQL and Redis alone, without the service.
//!
//! Checkouts of new buyers and purchases of what they collected, in batches of 128 one after the other, as one writer of a busy
//! service sends them; for Redis, the locks of such purchases. There is no target: the figures are for comparison with
//! `checkout` and `flow`.

use crate::baselines::floor;
use crate::outcome::Outcome;
use crate::report::{Figure, say};
use crate::stage::{Stage, Terms, Topology};
use crate::suite::{Scenario, Suite};

pub(super) const FLOOR: Scenario = Scenario {
    name: "floor",
    about: "checkouts and purchases a second of PostgreSQL alone, purchases of Redis alone",
    run: play,
};

fn play(suite: &mut Suite) -> Outcome<()> {
    let (mut checkouts, mut purchases, mut redis) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..suite.environment.options.runs {
        let stage = Stage::open(&suite.environment, Topology::Service(0))?;
        stage.sale(Terms { buyer_limit: 10, ..Terms::PLENTY })?;
        match floor::postgres::measure(
            &stage.database,
            suite.environment.options.seconds,
            &suite.environment.folder,
        )? {
            Some(rates) => {
                checkouts.push(rates.checkouts);
                purchases.push(rates.purchases);
            }
            None => say("# floor: pgbench is not installed: PostgreSQL alone is not measured"),
        }
        redis.push(floor::redis::measure(
            &suite.environment.options.redis_url,
            suite.environment.options.seconds,
        )?);
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
