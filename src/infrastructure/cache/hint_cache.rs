//! Answers prechecks: one script call for all checkouts of a sale that wait.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use redis::Script;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::Redis;
use super::script::{KEYS_A_CALL, script};
use super::writer::CacheWriter;
use crate::application::ports::{
    CommittedTotals, Hint, HintCache, PortError, PrecheckRequest, StockFacts,
};
use crate::domain::bloom::BloomShape;
use crate::domain::ids::SaleId;
use crate::domain::sale::Sale;
use crate::infrastructure::batching::{Batch, BatchLimits, BatchMetrics, BatchWork, Batcher};

static PRECHECK: LazyLock<Script> = script!("checkout_precheck");

const WHAT: &str = "the precheck";

/// Reads in batches, writes through the cache writer.
pub(crate) struct RedisHintCache {
    redis: Redis,
    cache_writer: CacheWriter,
    precheck: Batcher<Precheck>,
}

impl RedisHintCache {
    pub(crate) fn new(
        redis: Redis,
        cache_writer: CacheWriter,
        limits: BatchLimits,
        metrics: &BatchMetrics,
        scope: (TaskTracker, CancellationToken),
    ) -> Self {
        let limits = BatchLimits { size: limits.size.min(KEYS_A_CALL), ..limits };
        let work = Precheck { redis: redis.clone() };
        let precheck = Batcher::new("precheck", work, limits, metrics, scope);
        Self { redis, cache_writer, precheck }
    }
}

#[async_trait]
impl HintCache for RedisHintCache {
    async fn precheck(&self, request: PrecheckRequest) -> Result<Hint, PortError> {
        if !self.redis.is_up() {
            return Ok(Hint::Cold);
        }
        // If the queue is full or too slow, the checkout proceeds without a hint.
        Ok(self.precheck.submit(request.sale.id, request).await.unwrap_or(Hint::Cold))
    }

    fn update_totals(&self, committed: CommittedTotals) {
        self.cache_writer.update_totals(committed);
    }

    fn update_stock(&self, sale: &Arc<Sale>, facts: StockFacts) {
        self.cache_writer.update_stock(sale, facts);
    }
}

type PrecheckBatch = Batch<PrecheckRequest, Hint>;

/// Answers a batch of prechecks.
struct Precheck {
    redis: Redis,
}

#[async_trait]
impl BatchWork for Precheck {
    type Key = SaleId;
    type Request = PrecheckRequest;
    type Reply = Hint;

    async fn serve(&self, _sale: SaleId, batch: PrecheckBatch) -> PrecheckBatch {
        match self.call(batch.requests()).await {
            Ok(replies) => batch.answer(replies.into_iter().map(hint)),
            Err(error) => {
                tracing::debug!(%error, "a batch of prechecks failed");
                batch.answer(std::iter::repeat(Hint::Cold));
            }
        }
        Batch::empty()
    }
}

impl Precheck {
    async fn call(&self, requests: &[PrecheckRequest]) -> Result<Vec<i64>, PortError> {
        let Some(PrecheckRequest { sale, .. }) = requests.first() else {
            return Ok(Vec::new());
        };
        let keys = self.redis.keys().filter(sale);
        let shape = BloomShape::for_items(sale.items);
        let mut call = PRECHECK.prepare_invoke();
        call.key(keys.filter).key(&keys.slots[0]).key(&keys.slots[1]).key(keys.totals);
        call.arg(sale.buyer_limit).arg(shape.bits()).arg(shape.hashes());
        call.arg(self.redis.connected_at());
        for PrecheckRequest { buyer, line, .. } in requests {
            call.key(self.redis.keys().totals(sale.id, buyer));
            let probes = shape.probe_sequence(line.item);
            call.arg(line.item.0).arg(line.quantity.get()).arg(probes.first).arg(probes.stride);
        }
        let mut replies: Vec<i64> = self.redis.invoke(WHAT, &call).await?;
        if replies.len() != requests.len() + 1 {
            let source = "wrong number of replies".into();
            return Err(PortError::Broken { what: WHAT, source });
        }
        if replies.remove(0) == 1 {
            self.redis.report_cold();
        }
        Ok(replies)
    }
}

/// Replies from this number on contain a version.
const FIRST_VERSION: i64 = 16;

/// Maps a reply of `checkout_precheck.lua`.
fn hint(reply: i64) -> Hint {
    match reply {
        0 => Hint::Clear,
        1 => Hint::ItemInFilter,
        2 => Hint::SaleSoldOut,
        3 => Hint::Cold,
        reply => Hint::OverLimit { version: reply.saturating_sub(FIRST_VERSION) },
    }
}

#[cfg(test)]
mod tests {
    use redis::AsyncCommands;

    use super::*;
    use crate::testing::contracts::hint_cache::hint_cache_contract;
    use crate::testing::contracts::{HintCacheFixture, HintCacheWorld, eventually};
    use crate::testing::servers::RedisWorld;

    hint_cache_contract!(RedisWorld::open());

    #[tokio::test]
    async fn every_key_expires() {
        let world = RedisWorld::open();
        let fixture = HintCacheFixture::of(&world);
        fixture.rebuild(&[1]).await;
        fixture.update_totals("ann", &[(1, 2)], 0, 1);
        fixture.begin().await;
        fixture.wait_until_written().await;

        let keys = world.keys().await;

        let mut connection = world.connection().await;
        let mut without_expiry = Vec::new();
        for key in &keys {
            let ttl: i64 = connection.ttl(key).await.unwrap();
            without_expiry.extend((ttl < 0).then_some(key));
        }
        assert!(without_expiry.is_empty() && keys.len() >= 4, "{without_expiry:?} of {keys:?}");
    }

    #[tokio::test]
    async fn scripts_that_redis_has_forgotten_are_loaded_again() {
        let world = RedisWorld::open();
        let fixture = HintCacheFixture::of(&world);
        let mut connection = world.connection().await;
        let () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut connection).await.unwrap();

        fixture.rebuild(&[1]).await;
        fixture.update_totals("ann", &[], 10, 1);
        fixture.wait_until_written().await;
        let () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut connection).await.unwrap();

        let hints = (fixture.precheck("ann", 1, 1).await, fixture.precheck("ann", 2, 1).await);
        assert_eq!(hints, (Hint::ItemInFilter, Hint::OverLimit { version: 1 }));
    }

    #[tokio::test]
    async fn what_was_made_on_another_run_of_the_server_is_cold_until_it_is_made_anew() {
        let world = RedisWorld::open();
        let fixture = HintCacheFixture::of(&world);
        fixture.rebuild(&[1]).await;
        fixture.update_totals("bob", &[], 10, 7);
        fixture.wait_until_written().await;
        let keys = world.keys().await;
        let filter = keys.iter().find(|key| key.ends_with(":filter")).unwrap();
        let mut connection = world.connection().await;
        let () = connection.hset(filter, "run", "another").await.unwrap();

        let ann = async || fixture.precheck("ann", 1, 1).await;
        let before = (ann().await, fixture.precheck("bob", 2, 1).await);
        fixture.rebuild(&[1]).await;

        // Totals have a version of their own, so they hold on any run.
        assert_eq!(before, (Hint::Cold, Hint::OverLimit { version: 7 }));
        assert_eq!(ann().await, Hint::ItemInFilter);
        fixture.update_stock(&[(1, 1_000_000)], &[]);
        eventually("the total is written", async || ann().await == Hint::SaleSoldOut).await;
        let () = connection.hset(filter, "run", "another").await.unwrap();
        assert_eq!(ann().await, Hint::Cold);
    }

    #[tokio::test]
    async fn where_the_server_hides_its_run_only_filters_published_since_the_connection_count() {
        let world = RedisWorld::without_info().await;
        let (redis, cache_writer) = world.connect();
        let instance = world.hint_cache_on((redis.clone(), cache_writer));
        let fixture = HintCacheFixture { instance, ..HintCacheFixture::of(&world) };
        let probed_once = CancellationToken::new();
        probed_once.cancel();

        fixture.rebuild(&[1]).await;
        let before_the_probe = fixture.precheck("ann", 1, 1).await;
        redis.probe(probed_once).await;
        let published_before = fixture.precheck("ann", 1, 1).await;

        assert_eq!((before_the_probe, published_before), (Hint::Cold, Hint::Cold));
        // The server's clock counts in milliseconds, so the first rebuild may get the time of the connection.
        eventually("the filter counts", async || {
            fixture.rebuild(&[1]).await;
            fixture.precheck("ann", 1, 1).await == Hint::ItemInFilter
        })
        .await;
    }

    #[tokio::test]
    async fn while_redis_is_away_every_hint_is_cold() {
        let world = RedisWorld::unreachable();
        let fixture = HintCacheFixture {
            instance: HintCacheWorld::instance(&world),
            ..HintCacheFixture::of(&world)
        };

        let hints = (fixture.precheck("ann", 1, 1).await, fixture.precheck("ann", 1, 1).await);

        assert_eq!(hints, (Hint::Cold, Hint::Cold));
    }
}
