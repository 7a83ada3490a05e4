//! Redis, with a key prefix for each test.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prometheus::Registry;
use redis::aio::MultiplexedConnection;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::environment::setting;
use crate::application::ports::{CodeLock, IdempotencyLock, Leadership, SoldOutEvents};
use crate::config::{CircuitConfig, CircuitMode, RedisConfig, RedisServers};
use crate::domain::cell::CellId;
use crate::infrastructure::batching::{BatchLimits, BatchMetrics};
use crate::infrastructure::cache::{
    CacheWriter, Redis, RedisCodeLock, RedisFilterBuilder, RedisHintCache, RedisHintReader,
    RedisIdempotencyLock, RedisLeadership, RedisMetrics, RedisSoldOutEvents, SoldOutListener,
};
use crate::infrastructure::circuit::CircuitMetrics;
use crate::testing::contracts::code_lock::CodeLockWorld;
use crate::testing::contracts::idempotency_lock::IdempotencyLockWorld;
use crate::testing::contracts::leadership::LeadershipWorld;
use crate::testing::contracts::sold_out_events::{Listener, SoldOutEventsWorld};
use crate::testing::contracts::{HintCacheInstance, HintCacheWorld};

/// Timeouts of an instance. Minutes, so that a slow machine does not look like a Redis that is down.
const PATIENCE: Duration = Duration::from_mins(5);

/// The Redis that the instances of a test share.
pub(crate) struct RedisWorld {
    url: String,
    prefix: String,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl RedisWorld {
    pub(crate) fn open() -> Self {
        let prefix = format!("lib-{}:", Uuid::now_v7().simple());
        let url = setting("FLASH_SALE_TEST_REDIS_URL");
        Self { url, prefix, tasks: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// A Redis that is down: no process listens on the port of the "discard" protocol.
    pub(crate) fn unreachable() -> Self {
        Self { url: "redis://127.0.0.1:9/0".to_owned(), ..Self::open() }
    }

    /// A Redis that denies its instances the INFO command.
    pub(crate) async fn without_info() -> Self {
        Self::with_rights(&["~*", "&*", "+@all", "-info"]).await
    }

    /// A Redis whose user has these rights. `PREFIX` in a rule is the prefix of the keys.
    pub(crate) async fn with_rights(rules: &[&str]) -> Self {
        let world = Self::open();
        let user = Uuid::now_v7().simple().to_string();
        let mut connection = world.connection().await;
        let rules = rules.iter().map(|rule| rule.replace("PREFIX", &world.prefix));
        let () = redis::cmd("ACL")
            .arg(&["SETUSER", &user, "on", ">secret"])
            .arg(rules.collect::<Vec<_>>())
            .query_async(&mut connection)
            .await
            .unwrap();
        let url = world.url.replace("redis://", &format!("redis://{user}:secret@"));
        Self { url, ..world }
    }

    /// The prefix of its keys.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The connections and the cache writer of one more instance.
    pub(crate) fn connect(&self) -> (Redis, CacheWriter) {
        let config = RedisConfig {
            url: self.url.clone().into(),
            servers: RedisServers::Single,
            ssl_root_cert: None,
            key_prefix: self.prefix.clone(),
            connect_timeout: PATIENCE,
            response_timeout: PATIENCE,
            circuit: CircuitConfig {
                mode: CircuitMode::Auto,
                failures: 1,
                recovery_time: Duration::from_millis(100),
                probes: 1,
                probe_interval: Duration::from_millis(500),
            },
            lock_ttl: PATIENCE,
            lock_wait: PATIENCE,
            filter_interval: Duration::from_secs(10),
            keep_after_sale: Duration::from_mins(10),
        };
        let registry = Registry::new();
        let metrics = RedisMetrics::register(&registry).unwrap();
        let circuits = CircuitMetrics::register(&registry).unwrap();
        let redis = Redis::new(&config, metrics, &circuits).unwrap();
        let cache_writer =
            CacheWriter::start(redis.clone(), Arc::default(), &self.tasks, self.stop.clone());
        (redis, cache_writer)
    }

    /// The hint cache of an instance with these connections.
    pub(crate) fn hint_cache_on(
        &self,
        (redis, cache_writer): (Redis, CacheWriter),
    ) -> HintCacheInstance {
        let metrics = BatchMetrics::register(&Registry::new()).unwrap();
        let builder = Uuid::now_v7().to_string();
        let scope = self.scope();
        HintCacheInstance {
            builder: Arc::new(RedisFilterBuilder::new(redis.clone(), builder)),
            reader: Arc::new(RedisHintReader::new(redis.clone())),
            hints: Arc::new(RedisHintCache::new(redis, cache_writer, LIMITS, &metrics, scope)),
        }
    }

    /// The locks on codes of one more instance.
    pub(crate) fn locks(&self, ttl: Duration) -> RedisCodeLock {
        let metrics = BatchMetrics::register(&Registry::new()).unwrap();
        RedisCodeLock::new(self.connect(), ttl, LIMITS, &metrics, self.scope())
    }

    /// The locks on idempotency keys of one more instance.
    pub(crate) fn idempotency_lock(&self, ttl: Duration) -> RedisIdempotencyLock {
        RedisIdempotencyLock::new(self.connect().0, ttl)
    }

    fn scope(&self) -> (TaskTracker, CancellationToken) {
        (self.tasks.clone(), self.stop.clone())
    }

    /// A connection of the test itself.
    pub(crate) async fn connection(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url.as_str()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// All keys of this world.
    pub(crate) async fn keys(&self) -> Vec<String> {
        let pattern = format!("{}*", self.prefix);
        let mut connection = self.connection().await;
        redis::cmd("KEYS").arg(pattern).query_async(&mut connection).await.unwrap()
    }
}

const LIMITS: BatchLimits = BatchLimits {
    size: 256,
    writers: 1,
    queue: 1_024,
    queue_timeout: PATIENCE,
    wait_limit: PATIENCE,
};

#[async_trait]
impl HintCacheWorld for RedisWorld {
    fn instance(&self) -> HintCacheInstance {
        self.hint_cache_on(self.connect())
    }

    /// Deletes only the keys of this world: other tests share the server.
    async fn clear(&self) {
        let keys = self.keys().await;
        let mut connection = self.connection().await;
        let () = redis::cmd("DEL").arg(keys).query_async(&mut connection).await.unwrap();
    }
}

impl IdempotencyLockWorld for RedisWorld {
    fn instance(&self, ttl: Duration) -> Arc<dyn IdempotencyLock> {
        Arc::new(self.idempotency_lock(ttl))
    }

    fn advance(&self, _: Duration) {}
}

impl CodeLockWorld for RedisWorld {
    fn instance(&self, ttl: Duration) -> Arc<dyn CodeLock> {
        Arc::new(self.locks(ttl))
    }

    fn advance(&self, _: Duration) {}
}

impl LeadershipWorld for RedisWorld {
    fn instance(&self, number: u32) -> Arc<dyn Leadership> {
        Arc::new(RedisLeadership::new(self.connect().0, CellId::default(), number.to_string()))
    }

    fn advance(&self, _: Duration) {}
}

impl SoldOutEventsWorld for RedisWorld {
    fn publisher(&self) -> Arc<dyn SoldOutEvents> {
        Arc::new(RedisSoldOutEvents::new(self.connect().1))
    }

    fn subscribe(&self, listener: Listener) {
        let (tasks, stop) = self.scope();
        tasks.spawn(SoldOutListener::new(self.connect().0, Arc::default(), listener).listen(stop));
    }
}
