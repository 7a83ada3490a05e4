//! Redis under a key prefix of a test's own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prometheus::Registry;
use redis::aio::MultiplexedConnection;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::setting;
use crate::application::ports::{CodeLock, KeyGate, Leadership, News};
use crate::config::{CircuitConfig, CircuitMode, RedisConfig};
use crate::infrastructure::batching::{BatchLimits, BatchMetrics};
use crate::infrastructure::cache::{
    Courier, LockTimes, NewsListener, Redis, RedisCodeLock, RedisFilterBuilder, RedisKeyGate,
    RedisLeadership, RedisMemoryReader, RedisMetrics, RedisNews, RedisSharedMemory,
};
use crate::infrastructure::circuit::CircuitMetrics;
use crate::testing::contracts::code_lock::LockWorld;
use crate::testing::contracts::key_gate::GateWorld;
use crate::testing::contracts::leadership::TermWorld;
use crate::testing::contracts::news::{Listener, NewsWorld};
use crate::testing::contracts::{MemoryInstance, MemoryWorld};

/// An instance's patience with Redis: a slow machine must not look like a Redis that is away.
const PATIENCE: Duration = Duration::from_secs(20);

/// What instances share in Redis.
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

    /// A Redis that is away: nobody listens on the port of the "discard" protocol.
    pub(crate) fn nowhere() -> Self {
        Self { url: "redis://127.0.0.1:9/0".to_owned(), ..Self::open() }
    }

    /// As a user that the server does not tell about itself.
    pub(crate) async fn without_info() -> Self {
        let world = Self::open();
        let user = Uuid::now_v7().simple().to_string();
        let mut connection = world.connection().await;
        let rights = [user.as_str(), "on", ">secret", "~*", "&*", "+@all", "-info"];
        let () = redis::cmd("ACL")
            .arg("SETUSER")
            .arg(&rights)
            .query_async(&mut connection)
            .await
            .unwrap();
        let url = world.url.replace("redis://", &format!("redis://{user}:secret@"));
        Self { url, ..world }
    }

    /// One more instance's connections, and its courier.
    pub(crate) fn connect(&self) -> (Redis, Courier) {
        let config = RedisConfig {
            url: self.url.clone().into(),
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
        let courier = Courier::start(redis.clone(), &self.tasks, self.stop.clone());
        (redis, courier)
    }

    /// The memory of an instance with these connections.
    pub(crate) fn memory_over(&self, (redis, courier): (Redis, Courier)) -> MemoryInstance {
        let metrics = BatchMetrics::register(&Registry::new()).unwrap();
        let builder = Uuid::now_v7().to_string();
        let scope = self.scope();
        MemoryInstance {
            builder: Arc::new(RedisFilterBuilder::new(redis.clone(), builder)),
            reader: Arc::new(RedisMemoryReader::new(redis.clone())),
            memory: Arc::new(RedisSharedMemory::new(redis, courier, LIMITS, &metrics, scope)),
        }
    }

    /// The locks of one more instance.
    pub(crate) fn locks(&self, times: LockTimes) -> RedisCodeLock {
        let metrics = BatchMetrics::register(&Registry::new()).unwrap();
        RedisCodeLock::new(self.connect(), times, LIMITS, &metrics, self.scope())
    }

    /// The gate of one more instance.
    pub(crate) fn gate(&self, ttl: Duration) -> RedisKeyGate {
        RedisKeyGate::new(self.connect().0, ttl)
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
impl MemoryWorld for RedisWorld {
    fn instance(&self) -> MemoryInstance {
        self.memory_over(self.connect())
    }

    /// Others share the server, so only what belongs to this world is lost.
    async fn lose_everything(&self) {
        let keys = self.keys().await;
        let mut connection = self.connection().await;
        let () = redis::cmd("DEL").arg(keys).query_async(&mut connection).await.unwrap();
    }
}

impl GateWorld for RedisWorld {
    fn instance(&self, ttl: Duration) -> Arc<dyn KeyGate> {
        Arc::new(self.gate(ttl))
    }

    fn pass(&self, _: Duration) {}
}

impl LockWorld for RedisWorld {
    fn instance(&self, ttl: Duration) -> Arc<dyn CodeLock> {
        Arc::new(self.locks(LockTimes { ttl, wait: Duration::from_millis(5) }))
    }

    fn pass(&self, _: Duration) {}
}

impl TermWorld for RedisWorld {
    fn instance(&self, number: u32) -> Arc<dyn Leadership> {
        Arc::new(RedisLeadership::new(self.connect().0, number.to_string()))
    }

    fn pass(&self, _: Duration) {}
}

impl NewsWorld for RedisWorld {
    fn teller(&self) -> Arc<dyn News> {
        Arc::new(RedisNews::new(self.connect().1))
    }

    fn listen(&self, listener: Listener) {
        let (tasks, stop) = self.scope();
        tasks.spawn(NewsListener::new(self.connect().0, listener).listen(stop));
    }
}
