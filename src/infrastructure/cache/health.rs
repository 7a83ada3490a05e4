//! The health of Redis. Without Redis the service is slower but keeps selling, so it is degraded and not down.

use async_trait::async_trait;

use super::connection::Redis;
use crate::application::ports::{Health, HealthCheck};

/// Reports the mode, the state of the circuit, and the rights that Redis refuses.
pub(crate) struct RedisHealth {
    redis: Redis,
}

impl RedisHealth {
    pub(crate) fn new(redis: Redis) -> Self {
        Self { redis }
    }
}

#[async_trait]
impl HealthCheck for RedisHealth {
    fn name(&self) -> &'static str {
        "redis"
    }

    async fn check(&self) -> Health {
        if !self.redis.is_up() {
            let state = self.redis.circuit_state();
            return Health::Degraded(format!(
                "selling with postgresql alone: the circuit is {state}"
            ));
        }
        match self.redis.missing_rights() {
            Some(missing) => Health::Degraded(format!("redis refuses rights: {missing}")),
            None => Health::Up,
        }
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let mut details = vec![("mode", self.redis.mode().to_owned())];
        details.extend(self.redis.master().map(|master| ("master", master)));
        details
    }
}
