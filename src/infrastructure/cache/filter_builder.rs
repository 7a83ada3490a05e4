//! Rebuilds a sale's filter of sold-out items, and its totals where Redis has lost them.

use std::sync::LazyLock;

use async_trait::async_trait;
use redis::{AsyncCommands, Script};

use super::connection::Redis;
use super::link::BackgroundConnection;
use super::script::script;
use super::stock;
use crate::application::ports::{
    BuiltFrom, FilterBuilder, ItemTotals, PortError, StockFacts, StockSnapshot,
};
use crate::domain::bloom::BloomShape;
use crate::domain::sale::Sale;

static BEGIN: LazyLock<Script> = script!("filter_begin");
static PUBLISH: LazyLock<Script> = script!("filter_publish");
static STATE: LazyLock<Script> = script!("filter_state");

const WHAT: &str = "the filter's rebuild";
/// A filter that is built but not published expires after this time.
const BUILT_TTL_MS: u64 = 60_000;

/// Rebuilds under the name of this instance.
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
    async fn built_from(&self, sale: &Sale) -> Result<Option<BuiltFrom>, PortError> {
        let keys = self.redis.keys().filter(sale);
        let mut call = STATE.prepare_invoke();
        call.key(keys.filter).key(keys.totals).arg(self.redis.connected_at());
        let built_from: String = self.redis.invoke_pooled(WHAT, &call).await?;
        Ok(parse(&built_from))
    }

    async fn begin(&self, sale: &Sale) -> Result<ItemTotals, PortError> {
        let keys = self.redis.keys().filter(sale);
        let mut call = BEGIN.prepare_invoke();
        call.key(keys.filter).key(&keys.slots[0]).key(&keys.slots[1]).key(keys.totals);
        call.arg(&self.instance).arg(self.redis.keys().expire_at(sale));
        let complete: i64 = self.redis.invoke_pooled(WHAT, &call).await?;
        Ok(if complete == 1 { ItemTotals::Known } else { ItemTotals::Missing })
    }

    async fn publish(
        &self,
        sale: &Sale,
        stock: &StockSnapshot,
        totals: ItemTotals,
    ) -> Result<(), PortError> {
        if totals == ItemTotals::Missing {
            // The filter's bits are set below, all at once.
            let facts = StockFacts { sold_out: Vec::new(), ..stock.facts.clone() };
            stock::update(&self.redis, sale, &facts).await;
        }
        let bits = BloomShape::for_items(sale.items).filled(stock.facts.sold_out.iter().copied());
        let built = self.redis.keys().built(sale.id, &self.instance);
        let set = async |connection: &mut BackgroundConnection| {
            connection.pset_ex::<_, _, ()>(&built, bits, BUILT_TTL_MS).await
        };
        self.redis.call_pooled(WHAT, set).await?;

        let keys = self.redis.keys().filter(sale);
        let mut call = PUBLISH.prepare_invoke();
        call.key(keys.filter).key(&keys.slots[0]).key(&keys.slots[1]).key(built).key(keys.totals);
        call.arg(&self.instance).arg(self.redis.keys().expire_at(sale)).arg(stock.pieces);
        call.arg(format(BuiltFrom::of(stock)));
        self.redis.invoke_pooled::<i64>(WHAT, &call).await?;
        Ok(())
    }
}

/// The generation and the number of sold-out items, as Redis stores them.
fn format(built_from: BuiltFrom) -> String {
    format!("{} {}", built_from.generation, built_from.sold_out)
}

fn parse(text: &str) -> Option<BuiltFrom> {
    let (generation, sold_out) = text.split_once(' ')?;
    Some(BuiltFrom { generation: generation.parse().ok()?, sold_out: sold_out.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use crate::application::ports::{Hint, ItemTotals, StockSnapshot};
    use crate::testing::contracts::HintCacheFixture;
    use crate::testing::servers::RedisWorld;

    #[tokio::test]
    async fn a_rebuild_that_another_has_superseded_publishes_nothing() {
        let world = RedisWorld::open();
        let (slow, quick) = (HintCacheFixture::of(&world), HintCacheFixture::of(&world));
        slow.begin().await;
        quick.rebuild(&[1]).await;

        let empty = StockSnapshot::default();
        slow.instance.builder.publish(&slow.sale, &empty, ItemTotals::Known).await.unwrap();

        assert_eq!(quick.precheck("ann", 1, 1).await, Hint::ItemInFilter);
    }

    #[tokio::test]
    async fn while_redis_is_away_a_rebuild_is_an_error() {
        let fixture = HintCacheFixture::of(&RedisWorld::unreachable());

        assert!(fixture.instance.builder.begin(&fixture.sale).await.is_err());
    }
}
