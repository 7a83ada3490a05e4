//! One leader for each background task: a key that names it and expires with its term.

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use redis::Script;

use super::connection::Redis;
use super::script::script;
use crate::application::ports::{Leadership, PortError};

static ACQUIRE: LazyLock<Script> = script!("leader_acquire");

/// Leads under the name of this instance.
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
    async fn lead(&self, task: &'static str, term: Duration) -> Result<bool, PortError> {
        let mut call = ACQUIRE.prepare_invoke();
        call.key(self.redis.keys().leader(task))
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
        let leadership = RedisLeadership::new(redis, "1".to_owned());

        assert!(leadership.lead("dishes", Duration::from_secs(1)).await.is_err());
    }
}
