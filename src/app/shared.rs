//! What the cells of an instance share: Redis, metrics, and what signs or computes.

use std::sync::Arc;

use super::context::BuildContext;
use super::error::AppError;
use crate::application::ports::{BusinessMetrics, IdempotencyLock, ReadCache};
use crate::infrastructure::batching::BatchMetrics;
use crate::infrastructure::cache::{Redis, RedisIdempotencyLock, RedisMetrics, RedisReadPages};
use crate::infrastructure::monitoring::PrometheusBusinessMetrics;
use crate::infrastructure::read_cache::{ReadCacheMetrics, TwoTierCache};
use crate::infrastructure::schedule::CronCalendar;
use crate::infrastructure::signing::HmacCursorSigner;

/// What the cells of an instance share.
pub(crate) struct Shared {
    pub(crate) redis: Redis,
    pub(crate) idempotency_lock: Arc<dyn IdempotencyLock>,
    pub(crate) calendar: Arc<CronCalendar>,
    /// The read cache, if it is on.
    pub(crate) read_cache: Option<Arc<TwoTierCache>>,
    pub(crate) cursors: Arc<HmacCursorSigner>,
    pub(crate) business_metrics: Arc<dyn BusinessMetrics>,
    pub(crate) batches: BatchMetrics,
}

impl Shared {
    pub(crate) fn build(context: &BuildContext<'_>) -> Result<Self, AppError> {
        let BuildContext { config, registry, circuits, .. } = context;
        let redis = Redis::new(&config.redis, RedisMetrics::register(registry)?, circuits)?;
        let idempotency_lock = RedisIdempotencyLock::new(redis.clone(), config.redis.lock_ttl);
        Ok(Self {
            read_cache: read_cache(context, &redis)?,
            idempotency_lock: Arc::new(idempotency_lock),
            calendar: Arc::new(CronCalendar::new(&config.schedule)),
            cursors: Arc::new(HmacCursorSigner::new(&config.code_keys)),
            business_metrics: Arc::new(PrometheusBusinessMetrics::register(registry)?),
            batches: BatchMetrics::register(registry)?,
            redis,
        })
    }

    /// The read cache, as use cases see it.
    pub(crate) fn reads(&self) -> Option<Arc<dyn ReadCache>> {
        let cache: Arc<dyn ReadCache> = Arc::<TwoTierCache>::clone(self.read_cache.as_ref()?);
        Some(cache)
    }
}

fn read_cache(
    context: &BuildContext<'_>,
    redis: &Redis,
) -> Result<Option<Arc<TwoTierCache>>, AppError> {
    let config = &context.config.cache;
    if !config.enabled {
        return Ok(None);
    }
    let (instance, longest) = (context.instance.name.clone(), config.longest_ttl());
    let shared = Arc::new(RedisReadPages::new(redis.clone(), instance, longest));
    let metrics = ReadCacheMetrics::register(context.registry)?;
    Ok(Some(Arc::new(TwoTierCache::new(config.clone(), shared, metrics))))
}
