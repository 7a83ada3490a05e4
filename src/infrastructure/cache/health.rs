//! Whether Redis answers. Without it the service is slower, and sells.

use async_trait::async_trait;

use super::connection::Redis;
use crate::application::ports::{Health, HealthCheck};

/// Tells what the probe found.
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
        if self.redis.is_up() {
            Health::Up
        } else {
            let state = self.redis.circuit_state();
            Health::Degraded(format!("selling with postgresql alone: the circuit is {state}"))
        }
    }
}
