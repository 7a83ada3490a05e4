//! The rebuild of a sale's filter of sold-out items, and of its totals where Redis has lost them.

use async_trait::async_trait;
use redis::AsyncCommands;

use super::connection::Redis;
use super::courier;
use crate::application::ports::{FilterBuilder, PortError, StockFacts, StockSnapshot, Totals};
use crate::domain::bloom::BloomShape;
use crate::domain::sale::Sale;

const WHAT: &str = "the filter's rebuild";
/// A filter that was built and never published is gone after this time.
const BUILT_TTL_MS: u64 = 60_000;

/// Rebuilds under this name.
pub(crate) struct RedisFilterBuilder {
    redis: Redis,
    instance: String,
}

impl RedisFilterBuilder {
    pub(crate) fn new(redis: Redis, instance: String) -> Self {
        Self { redis, instance }
    }
}

#[async_trait]
impl FilterBuilder for RedisFilterBuilder {
    async fn begin(&self, sale: &Sale) -> Result<Totals, PortError> {
        let keys = self.redis.keys().filter(sale);
        let mut manager = self.redis.manager();
        let mut call = self.redis.scripts().filter_begin.prepare_invoke();
        call.key(keys.filter).key(&keys.slots[0]).key(&keys.slots[1]).key(keys.totals);
        call.arg(&self.instance).arg(self.redis.keys().expire_at(sale));
        let complete: i64 = self.redis.call(WHAT, call.invoke_async(&mut manager)).await?;
        Ok(if complete == 1 { Totals::Known } else { Totals::Missing })
    }

    async fn publish(
        &self,
        sale: &Sale,
        stock: &StockSnapshot,
        totals: Totals,
    ) -> Result<(), PortError> {
        if totals == Totals::Missing {
            // The filter itself is made here, not item by item.
            let facts = StockFacts { sold_out: Vec::new(), ..stock.facts.clone() };
            courier::remember_stock(&self.redis, sale, &facts).await;
        }
        let bits = BloomShape::for_items(sale.items).filled(stock.facts.sold_out.iter().copied());
        let built = self.redis.keys().built(sale.id, &self.instance);
        let mut manager = self.redis.manager();
        let set = manager.pset_ex::<_, _, ()>(&built, bits, BUILT_TTL_MS);
        self.redis.call(WHAT, set).await?;

        let keys = self.redis.keys().filter(sale);
        let mut manager = self.redis.manager();
        let mut call = self.redis.scripts().filter_publish.prepare_invoke();
        call.key(keys.filter).key(&keys.slots[0]).key(&keys.slots[1]).key(built).key(keys.totals);
        call.arg(&self.instance).arg(self.redis.keys().expire_at(sale)).arg(stock.pieces);
        self.redis.call(WHAT, call.invoke_async::<i64>(&mut manager)).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::application::ports::{Belief, StockSnapshot, Totals};
    use crate::testing::contracts::Mind;
    use crate::testing::servers::RedisWorld;

    #[tokio::test]
    async fn a_rebuild_that_another_has_superseded_publishes_nothing() {
        let world = RedisWorld::open();
        let (slow, quick) = (Mind::of(&world), Mind::of(&world));
        slow.begin().await;
        quick.rebuild(&[1]).await;

        let empty = StockSnapshot::default();
        slow.instance.builder.publish(&slow.sale, &empty, Totals::Known).await.unwrap();

        assert_eq!(quick.believes("ann", 1, 1).await, Belief::ItemInFilter);
    }

    #[tokio::test]
    async fn while_redis_is_away_a_rebuild_is_an_error() {
        let mind = Mind::of(&RedisWorld::nowhere());

        assert!(mind.instance.builder.begin(&mind.sale).await.is_err());
    }
}
