//! Decides whether requests are within their limits.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::memory::BucketMemory;
use super::pending::Pending;
use super::policies::LivePolicies;
use super::shared::{Counted, SharedCounts};
use crate::application::ports::{Admission, Bucket, Buckets, LimitedBy, RateLimiter};
use crate::config::{LimitsConfig, Setting};
use crate::domain::rate_limit::{Level, RateLimit};
use crate::infrastructure::batching::{BatchLimits, BatchMetrics, Batcher};
use crate::infrastructure::cache::connection::Redis;
use crate::infrastructure::cache::script::KEYS_A_CALL;

/// An instance answers requests from memory, and counts them a moment later, until they have filled one eighth of a bucket. So what up
/// to eight instances have not counted yet fits into the bucket.
const MEMORY_PART: u32 = 8;
/// For this long after Redis has reported how full its buckets are, a request with an effect is answered from memory.
const KNOWN_FOR: Duration = Duration::from_secs(1);
/// The part of a bucket that requests with an effect may fill in an instance before Redis knows of them. Five instances are exact
/// within one percent, even if each has as many more on their way to Redis.
const UNCOUNTED_PART: u32 = 1_000;

/// Counts requests in Redis; in memory, by a share of the limits, while Redis is away.
pub(crate) struct RedisRateLimiter {
    policies: Arc<LivePolicies>,
    memory: Arc<BucketMemory>,
    shared: Arc<SharedCounts>,
    batcher: Batcher<Arc<SharedCounts>>,
    pending: Arc<Pending>,
}

impl RedisRateLimiter {
    pub(crate) fn new(
        redis: Redis,
        config: Setting<Arc<LimitsConfig>>,
        limits: BatchLimits,
        metrics: &BatchMetrics,
        scope: (TaskTracker, CancellationToken),
    ) -> Self {
        let policies = Arc::new(LivePolicies::new(config));
        let memory = Arc::new(BucketMemory::new());
        let pending = Arc::<Pending>::default();
        let counts = Arc::new(SharedCounts {
            redis,
            policies: Arc::clone(&policies),
            memory: Arc::clone(&memory),
            pending: Arc::clone(&pending),
        });
        let size = limits.size.min(KEYS_A_CALL / LimitedBy::ALL.len());
        let limits = BatchLimits { size, ..limits };
        let batcher = Batcher::new("limit", Arc::clone(&counts), limits, metrics, scope);
        Self { policies, memory, shared: counts, batcher, pending }
    }

    /// Counts in Redis what was answered from memory, again and again.
    pub(crate) async fn flush(self: Arc<Self>) {
        loop {
            let gathered = self.pending.gathered().await;
            let requests: Vec<Counted> = gathered.into_iter().map(Counted::in_any_case).collect();
            for some in requests.chunks(KEYS_A_CALL) {
                // While Redis is away every instance counts alone.
                if let Err(error) = self.shared.count(some).await {
                    tracing::debug!(%error, "requests are counted by this instance alone");
                    break;
                }
            }
        }
    }

    /// Counts a request of which Redis need not be asked before: Redis has just said that all of its buckets are nearly empty, and few
    /// requests are uncounted there.
    fn count_before_redis(&self, buckets: &Buckets) -> Option<Admission> {
        let (now, policies) = (self.memory.now(), &self.policies.get().whole);
        let is_known = |bucket: Bucket| {
            let level = self.memory.recent_level(&bucket, now, KNOWN_FOR);
            level.is_some_and(|level| is_nearly_empty(policies.of(&bucket), level))
        };
        let at_most = |bucket: &Bucket| {
            policies.of(bucket).map_or(u32::MAX, |limit| limit.burst() / UNCOUNTED_PART)
        };
        let may_be = buckets.iter().all(is_known) && self.pending.try_add(buckets, at_most);
        may_be.then(|| self.memory.count(buckets, policies))
    }

    /// Decides by a share of the limits, in memory.
    fn admit_alone(&self, buckets: &Buckets) -> Admission {
        self.memory.admit(buckets, &self.policies.get().shares)
    }
}

/// Whether one more request may be counted a moment later.
fn is_nearly_empty(limit: Option<RateLimit>, level: Level) -> bool {
    limit.is_none_or(|limit| level.0 + limit.interval() <= limit.capacity() / MEMORY_PART)
}

#[async_trait]
impl RateLimiter for RedisRateLimiter {
    fn is_on(&self) -> bool {
        self.policies.get().is_on()
    }

    fn has(&self, by: LimitedBy) -> bool {
        self.policies.get().whole.has(by)
    }

    fn bucket(&self, by: LimitedBy, name: &str) -> Option<Bucket> {
        self.policies.get().whole.bucket(by, name)
    }

    fn bucket_of_route(&self, method: &str, route: &str) -> Option<Bucket> {
        self.policies.get().whole.bucket_of_route(method, route)
    }

    fn refused(&self, buckets: &Buckets) -> Option<Admission> {
        let admission = self.memory.admission(buckets, &self.policies.get().whole);
        admission.refused.is_some().then_some(admission)
    }

    fn admit_from_memory(&self, buckets: &Buckets) -> Option<Admission> {
        if !self.shared.redis.is_up() {
            return Some(self.admit_alone(buckets));
        }
        let (now, policies) = (self.memory.now(), &self.policies.get().whole);
        let has_room =
            |bucket: Bucket| is_nearly_empty(policies.of(&bucket), self.memory.level(&bucket, now));
        if !buckets.iter().all(has_room) {
            return None;
        }
        self.pending.add(buckets);
        Some(self.memory.count(buckets, policies))
    }

    async fn admit(&self, buckets: &Buckets) -> Admission {
        if !self.shared.redis.is_up() {
            return self.admit_alone(buckets);
        }
        if let Some(counted) = self.count_before_redis(buckets) {
            return counted;
        }
        match self.batcher.submit((), *buckets).await {
            Ok(Some(admission)) => admission,
            Ok(None) | Err(_) => self.admit_alone(buckets),
        }
    }

    fn count(&self, buckets: &Buckets) {
        self.memory.count(buckets, &self.policies.get().whole);
        if self.shared.redis.is_up() {
            self.pending.add(buckets);
        }
    }
}
