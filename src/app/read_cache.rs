//! What commands do to the read cache.

use prometheus::Registry;

use super::error::AppError;
use crate::application::ports::{CacheScope, PortError};
use crate::config::{CircuitConfig, CircuitMode, Config, RedisConfig};
use crate::infrastructure::cache::{Redis, RedisMetrics, RedisReadSweep};
use crate::infrastructure::circuit::CircuitMetrics;

/// The read cache of all instances.
pub(crate) struct ReadCacheSweep(RedisReadSweep);

impl ReadCacheSweep {
    /// Prepares the connection. It needs no PostgreSQL.
    pub(crate) fn build(config: &Config) -> Result<Self, AppError> {
        let registry = Registry::new();
        let circuits = CircuitMetrics::register(&registry)?;
        // A command is one caller, and runs no probe that would close the circuit.
        let circuit = CircuitConfig { mode: CircuitMode::Closed, ..config.redis.circuit.clone() };
        let settings = RedisConfig { circuit, ..config.redis.clone() };
        let redis = Redis::new(&settings, RedisMetrics::register(&registry)?, &circuits)?;
        Ok(Self(RedisReadSweep::new(redis, config.cache.longest_ttl())))
    }

    /// Has all instances forget these scopes, or everything if there are none, and deletes the pages in Redis whose keys are wanted.
    /// Returns the number of these.
    pub(crate) async fn sweep(
        &self,
        scopes: &[CacheScope],
        is_wanted: &(dyn Fn(&str) -> bool + Send + Sync),
    ) -> Result<usize, PortError> {
        self.0.sweep(scopes, is_wanted).await
    }
}
