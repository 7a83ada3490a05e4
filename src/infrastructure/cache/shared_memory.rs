//! The shared memory at the checkout's door: one script call answers all checkouts of a sale that wait.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::Redis;
use super::courier::Courier;
use super::scripts::KEYS_A_CALL;
use crate::application::ports::{
    Belief, Knock, KnownStanding, PortError, SharedMemory, StockFacts,
};
use crate::domain::bloom::BloomShape;
use crate::domain::ids::SaleId;
use crate::domain::sale::Sale;
use crate::infrastructure::batching::{BatchLimits, BatchMetrics, BatchWork, Batcher};

const WHAT: &str = "the shared memory";

/// Asks in batches, tells through the courier.
pub(crate) struct RedisSharedMemory {
    redis: Redis,
    courier: Courier,
    door: Batcher<Door>,
}

impl RedisSharedMemory {
    pub(crate) fn new(
        redis: Redis,
        courier: Courier,
        limits: BatchLimits,
        metrics: &BatchMetrics,
        scope: (TaskTracker, CancellationToken),
    ) -> Self {
        let limits = BatchLimits { size: limits.size.min(KEYS_A_CALL), ..limits };
        let door = Batcher::new("door", Door { redis: redis.clone() }, limits, metrics, scope);
        Self { redis, courier, door }
    }
}

#[async_trait]
impl SharedMemory for RedisSharedMemory {
    async fn believes(&self, knock: Knock) -> Result<Belief, PortError> {
        if !self.redis.is_up() {
            return Ok(Belief::Cold);
        }
        // Full or too slow: the checkout goes on without the memory.
        Ok(self.door.submit(knock.sale.id, knock).await.unwrap_or(Belief::Cold))
    }

    fn remember_standing(&self, known: KnownStanding) {
        self.courier.standing(known);
    }

    fn remember_stock(&self, sale: &Arc<Sale>, facts: StockFacts) {
        self.courier.stock(sale, facts);
    }
}

/// Answers a batch of knocks.
struct Door {
    redis: Redis,
}

#[async_trait]
impl BatchWork for Door {
    type Key = SaleId;
    type Request = Knock;
    type Reply = Belief;
    type Desk = ();

    async fn serve(&self, (): &mut (), _sale: SaleId, knocks: Vec<Knock>) -> Vec<Belief> {
        match self.ask(&knocks).await {
            Ok(beliefs) => beliefs.into_iter().map(belief).collect(),
            Err(error) => {
                tracing::debug!(%error, "redis was not asked");
                vec![Belief::Cold; knocks.len()]
            }
        }
    }
}

impl Door {
    async fn ask(&self, knocks: &[Knock]) -> Result<Vec<i64>, PortError> {
        let Some(Knock { sale, .. }) = knocks.first() else {
            return Ok(Vec::new());
        };
        let keys = self.redis.keys().filter(sale);
        let shape = BloomShape::for_items(sale.items);
        let mut call = self.redis.scripts().checkout_believe.prepare_invoke();
        call.key(keys.filter).key(&keys.slots[0]).key(&keys.slots[1]).key(keys.totals);
        call.arg(sale.buyer_limit).arg(shape.bits()).arg(shape.hashes());
        call.arg(self.redis.connected_at());
        for Knock { buyer, line, .. } in knocks {
            call.key(self.redis.keys().standing(sale.id, buyer));
            let walk = shape.walk(line.item);
            call.arg(line.item.0).arg(line.quantity.get()).arg(walk.first).arg(walk.stride);
        }
        let mut manager = self.redis.manager();
        let mut beliefs: Vec<i64> = self.redis.call(WHAT, call.invoke_async(&mut manager)).await?;
        if beliefs.len() != knocks.len() + 1 {
            return Err(PortError::Broken {
                what: WHAT,
                source: "it answered another number".into(),
            });
        }
        if beliefs.remove(0) == 1 {
            self.redis.found_cold();
        }
        Ok(beliefs)
    }
}

/// Replies from here on are versions.
const FIRST_VERSION: i64 = 16;

/// The replies of `checkout_believe.lua`.
fn belief(reply: i64) -> Belief {
    match reply {
        0 => Belief::Fine,
        1 => Belief::ItemInFilter,
        2 => Belief::SaleSoldOut,
        3 => Belief::Cold,
        reply => Belief::OverLimit { version: reply.saturating_sub(FIRST_VERSION) },
    }
}

#[cfg(test)]
mod tests {
    use redis::AsyncCommands;

    use super::*;
    use crate::testing::contracts::shared_memory::shared_memory_contract;
    use crate::testing::contracts::{MemoryWorld, Mind, eventually};
    use crate::testing::servers::RedisWorld;

    shared_memory_contract!(RedisWorld::open());

    #[tokio::test]
    async fn every_key_expires() {
        let world = RedisWorld::open();
        let mind = Mind::of(&world);
        mind.rebuild(&[1]).await;
        mind.stands("ann", &[(1, 2)], 0, 1);
        mind.begin().await;
        mind.has_arrived().await;

        let keys = world.keys().await;

        let mut connection = world.connection().await;
        let mut forever = Vec::new();
        for key in &keys {
            let ttl: i64 = connection.ttl(key).await.unwrap();
            forever.extend((ttl < 0).then_some(key));
        }
        assert!(forever.is_empty() && keys.len() >= 4, "{forever:?} of {keys:?}");
    }

    #[tokio::test]
    async fn scripts_that_redis_has_forgotten_are_loaded_again() {
        let world = RedisWorld::open();
        let mind = Mind::of(&world);
        let mut connection = world.connection().await;
        let () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut connection).await.unwrap();

        mind.rebuild(&[1]).await;
        mind.stands("ann", &[], 10, 1);
        mind.has_arrived().await;
        let () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut connection).await.unwrap();

        let beliefs = (mind.believes("ann", 1, 1).await, mind.believes("ann", 2, 1).await);
        assert_eq!(beliefs, (Belief::ItemInFilter, Belief::OverLimit { version: 1 }));
    }

    #[tokio::test]
    async fn what_was_made_on_another_run_of_the_server_is_cold_until_it_is_made_anew() {
        let world = RedisWorld::open();
        let mind = Mind::of(&world);
        mind.rebuild(&[1]).await;
        mind.stands("bob", &[], 10, 7);
        mind.has_arrived().await;
        let keys = world.keys().await;
        let filter = keys.iter().find(|key| key.ends_with(":filter")).unwrap();
        let mut connection = world.connection().await;
        let () = connection.hset(filter, "run", "another").await.unwrap();

        let ann = async || mind.believes("ann", 1, 1).await;
        let before = (ann().await, mind.believes("bob", 2, 1).await);
        mind.rebuild(&[1]).await;

        // A standing has a version of its own.
        assert_eq!(before, (Belief::Cold, Belief::OverLimit { version: 7 }));
        assert_eq!(ann().await, Belief::ItemInFilter);
        mind.sold(&[(1, 1_000_000)], &[]);
        eventually("the total is told", async || ann().await == Belief::SaleSoldOut).await;
        let () = connection.hset(filter, "run", "another").await.unwrap();
        assert_eq!(ann().await, Belief::Cold);
    }

    #[tokio::test]
    async fn where_the_server_does_not_tell_its_run_only_what_was_made_since_we_connected_counts() {
        let world = RedisWorld::without_info().await;
        let (redis, courier) = world.connect();
        let instance = world.memory_over((redis.clone(), courier));
        let mind = Mind { instance, ..Mind::of(&world) };
        let probed_once = CancellationToken::new();
        probed_once.cancel();

        mind.rebuild(&[1]).await;
        let not_connected = mind.believes("ann", 1, 1).await;
        redis.probe(probed_once).await;
        let made_before = mind.believes("ann", 1, 1).await;

        assert_eq!((not_connected, made_before), (Belief::Cold, Belief::Cold));
        // The server's clock counts milliseconds.
        eventually("it is believed", async || {
            mind.rebuild(&[1]).await;
            mind.believes("ann", 1, 1).await == Belief::ItemInFilter
        })
        .await;
    }

    #[tokio::test]
    async fn while_redis_is_away_nothing_is_believed() {
        let world = RedisWorld::nowhere();
        let mind = Mind { instance: MemoryWorld::instance(&world), ..Mind::of(&world) };

        let beliefs = (mind.believes("ann", 1, 1).await, mind.believes("ann", 1, 1).await);

        assert_eq!(beliefs, (Belief::Cold, Belief::Cold));
    }
}
