//! Decides whether requests are within their limits.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::memory::BucketMemory;
use super::pending::Pending;
use super::policies::Policies;
use super::shared::{Counted, SharedCounts};
use crate::application::ports::{Admission, Bucket, Buckets, LimitedBy, RateLimiter};
use crate::config::LimitsConfig;
use crate::infrastructure::batching::{BatchLimits, BatchMetrics, Batcher};
use crate::infrastructure::cache::connection::Redis;
use crate::infrastructure::cache::script::KEYS_A_CALL;

/// Up to this part of a bucket, requests are answered from memory and counted a moment later. While fewer instances do so than
/// this number, what they have not counted yet fits into the bucket.
const MEMORY_PART: u32 = 8;

/// Counts requests in Redis; in memory, by a share of the limits, while Redis is away.
pub(crate) struct RedisRateLimiter {
    policies: Arc<Policies>,
    /// The limits while Redis is away.
    shares: Policies,
    memory: Arc<BucketMemory>,
    shared: Arc<SharedCounts>,
    batcher: Batcher<Arc<SharedCounts>>,
    pending: Pending,
}

impl RedisRateLimiter {
    pub(crate) fn new(
        redis: Redis,
        config: &LimitsConfig,
        limits: BatchLimits,
        metrics: &BatchMetrics,
        scope: (TaskTracker, CancellationToken),
    ) -> Self {
        let policies = Arc::new(Policies::new(config));
        let shares = policies.share(config.local_share);
        let memory = Arc::new(BucketMemory::new());
        let counts =
            SharedCounts { redis, policies: Arc::clone(&policies), memory: Arc::clone(&memory) };
        let counts = Arc::new(counts);
        let size = limits.size.min(KEYS_A_CALL / LimitedBy::ALL.len());
        let limits = BatchLimits { size, ..limits };
        let batcher = Batcher::new("limit", Arc::clone(&counts), limits, metrics, scope);
        Self { policies, shares, memory, shared: counts, batcher, pending: Pending::default() }
    }

    /// Counts in Redis what was answered from memory, again and again.
    pub(crate) async fn flush(self: Arc<Self>) {
        loop {
            let gathered = self.pending.gathered().await;
            let requests: Vec<Counted> = gathered
                .into_iter()
                .map(|(bucket, weight)| {
                    let mut buckets = Buckets::default();
                    buckets.set(bucket);
                    Counted { buckets, weight, in_any_case: true }
                })
                .collect();
            for some in requests.chunks(KEYS_A_CALL) {
                // While Redis is away every instance counts alone.
                if let Err(error) = self.shared.count(some).await {
                    tracing::debug!(%error, "requests are counted by this instance alone");
                    break;
                }
            }
        }
    }

    /// Decides by a share of the limits, in memory.
    fn admit_alone(&self, buckets: &Buckets) -> Admission {
        self.memory.admit(buckets, &self.shares)
    }
}

#[async_trait]
impl RateLimiter for RedisRateLimiter {
    fn has(&self, by: LimitedBy) -> bool {
        self.policies.has(by)
    }

    fn bucket(&self, by: LimitedBy, name: &str) -> Option<Bucket> {
        self.policies.bucket(by, name)
    }

    fn bucket_of_route(&self, method: &str, route: &str) -> Option<Bucket> {
        self.policies.bucket_of_route(method, route)
    }

    fn refused(&self, buckets: &Buckets) -> Option<Admission> {
        let admission = self.memory.admission(buckets, &self.policies);
        admission.refused.is_some().then_some(admission)
    }

    fn admit_from_memory(&self, buckets: &Buckets) -> Option<Admission> {
        if !self.shared.redis.is_up() {
            return Some(self.admit_alone(buckets));
        }
        let now = self.memory.now();
        let is_nearly_empty = |bucket: Bucket| {
            let limit = self.policies.of(&bucket);
            let level = self.memory.level(&bucket, now).0;
            limit.is_none_or(|limit| level + limit.interval() <= limit.capacity() / MEMORY_PART)
        };
        if !buckets.iter().all(is_nearly_empty) {
            return None;
        }
        self.pending.add(buckets);
        Some(self.memory.count(buckets, &self.policies))
    }

    async fn admit(&self, buckets: &Buckets) -> Admission {
        if !self.shared.redis.is_up() {
            return self.admit_alone(buckets);
        }
        if let Some(refused) = self.refused(buckets) {
            return refused;
        }
        match self.batcher.submit((), *buckets).await {
            Ok(Some(admission)) => admission,
            Ok(None) | Err(_) => self.admit_alone(buckets),
        }
    }

    fn count(&self, buckets: &Buckets) {
        self.memory.count(buckets, &self.policies);
        if self.shared.redis.is_up() {
            self.pending.add(buckets);
        }
    }
}
