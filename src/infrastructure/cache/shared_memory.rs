//! The shared memory at the checkout's door: one script call answers all checkouts of a sale that wait.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::Redis;
use super::courier::Courier;
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

    async fn serve(&self, _sale: SaleId, knocks: Vec<Knock>) -> Vec<Belief> {
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
        call.arg(sale.buyer_limit).arg(shape.hashes());
        for Knock { buyer, line, .. } in knocks {
            call.key(self.redis.keys().standing(sale.id, buyer));
            call.arg(line.item.0).arg(line.quantity.get());
            for place in shape.positions(line.item) {
                call.arg(place);
            }
        }
        let mut manager = self.redis.manager();
        let beliefs: Vec<i64> = self.redis.call(WHAT, call.invoke_async(&mut manager)).await?;
        if beliefs.len() == knocks.len() {
            Ok(beliefs)
        } else {
            Err(PortError::Broken { what: WHAT, source: "it answered another number".into() })
        }
    }
}

/// The replies of `checkout_believe.lua`.
fn belief(reply: i64) -> Belief {
    match reply {
        0 => Belief::Fine,
        1 => Belief::ItemInFilter,
        2 => Belief::OverLimit,
        3 => Belief::SaleSoldOut,
        _ => Belief::Cold,
    }
}
