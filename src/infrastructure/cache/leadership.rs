//! One leader for each chore, by a key that expires with its term.

use std::time::Duration;

use async_trait::async_trait;

use super::connection::Redis;
use crate::application::ports::{Leadership, PortError};

/// Leads under this name.
pub(crate) struct RedisLeadership {
    redis: Redis,
    instance: String,
}

impl RedisLeadership {
    pub(crate) fn new(redis: Redis, instance: String) -> Self {
        Self { redis, instance }
    }
}

#[async_trait]
impl Leadership for RedisLeadership {
    async fn lead(&self, chore: &'static str, term: Duration) -> Result<bool, PortError> {
        let mut manager = self.redis.manager();
        let mut call = self.redis.scripts().leader_lead.prepare_invoke();
        call.key(self.redis.keys().leader(chore))
            .arg(&self.instance)
            .arg(u64::try_from(term.as_millis()).unwrap_or(u64::MAX));
        let leads: i64 = self.redis.call("leadership", call.invoke_async(&mut manager)).await?;
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
    async fn while_redis_is_away_nobody_knows_who_leads() {
        let leadership = RedisLeadership::new(RedisWorld::nowhere().connect().0, "1".to_owned());

        assert!(leadership.lead("dishes", Duration::from_secs(1)).await.is_err());
    }
}
