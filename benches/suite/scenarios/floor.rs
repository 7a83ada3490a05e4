//! What PostgreSQL and Redis could do alone: where the service's own share begins.
//!
//! Checkouts of new buyers in batches of 256, as the service makes them when it is full. There is no target: it is there
//! to be compared with `checkout`.

use super::Scenario;
use crate::Outcome;
use crate::baselines::floor;
use crate::report::{Figure, say};
use crate::stage::{Cast, Stage, Terms};
use crate::suite::Suite;

pub(super) const FLOOR: Scenario = Scenario {
    name: "floor",
    about: "checkouts a second of PostgreSQL alone, and of Redis alone",
    run: play,
};

fn play(suite: &mut Suite) -> Outcome<()> {
    let (mut postgres, mut redis) = (Vec::new(), Vec::new());
    for _ in 0..suite.options.runs {
        let stage = Stage::open(suite, Cast::Service(0))?;
        stage.sale(Terms { buyer_limit: 10, ..Terms::PLENTY })?;
        match floor::postgres(&stage.database.url, suite.options.seconds, &suite.folder)? {
            Some(a_second) => postgres.push(a_second),
            None => say("# floor: pgbench is not here: PostgreSQL alone is not measured"),
        }
        redis.push(floor::redis(&suite.options.redis_url, suite.options.seconds)?);
    }
    if !postgres.is_empty() {
        suite.report.figure(Figure::new("floor", "PostgreSQL alone, checkouts", "/s", postgres));
    }
    suite.report.figure(Figure::new("floor", "Redis alone, checkouts", "/s", redis));
    Ok(())
}
