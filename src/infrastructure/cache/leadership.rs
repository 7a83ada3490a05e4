//! One leader for each background task: a key that names it and expires with its term.

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use redis::Script;

use super::connection::Redis;
use super::script::script;
use crate::application::ports::{Leadership, PortError};
use crate::domain::cell::CellId;

static ACQUIRE: LazyLock<Script> = script!("leader_acquire");

/// Leads in a cell, under the name of this instance.
pub(crate) struct RedisLeadership {
    redis: Redis,
    cell: CellId,
    instance: String,
}

impl RedisLeadership {
    pub(crate) fn new(redis: Redis, cell: CellId, instance: String) -> Self {
        Self { redis, cell, instance }
    }
}

#[async_trait]
impl Leadership for RedisLeadership {
    async fn lead(&self, task: &'static str, term: Duration) -> Result<bool, PortError> {
        let mut call = ACQUIRE.prepare_invoke();
        call.key(self.redis.keys().leader(self.cell, task))
            .arg(&self.instance)
            .arg(u64::try_from(term.as_millis()).unwrap_or(u64::MAX));
        let leads = self.redis.invoke_pooled::<i64>("leadership", &call).await?;
        Ok(leads == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::contracts::leadership::leadership_contract;
    use crate::testing::servers::RedisWorld;

    leadership_contract!(RedisWorld::open());

    #[tokio::test]
    async fn while_redis_is_away_leadership_is_an_error() {
        let redis = RedisWorld::unreachable().connect().0;
        let leadership = RedisLeadership::new(redis, CellId::default(), "1".to_owned());

        assert!(leadership.lead("dishes", Duration::from_secs(1)).await.is_err());
    }

    #[tokio::test]
    async fn every_cell_has_a_leader_of_its_own() {
        let (world, redis) = (RedisWorld::open(), |world: &RedisWorld| world.connect().0);
        let one = RedisLeadership::new(redis(&world), CellId::default(), "1".to_owned());
        let other = CellId::new(1).unwrap();
        let two = RedisLeadership::new(redis(&world), other, "2".to_owned());
        let term = Duration::from_mins(10);

        let led = (one.lead("dishes", term).await, two.lead("dishes", term).await);

        assert_eq!((led.0.unwrap(), led.1.unwrap()), (true, true));
    }
}
