//! What this instance knows of buckets: when each is empty. It knows less than Redis, so a bucket is at least as full as it says.

use std::array;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use super::policies::Policies;
use crate::application::ports::{Admission, Bucket, Buckets};
use crate::domain::rate_limit::{Level, RateLimit};

/// Parts with a lock each.
const SHARDS: usize = 16;
/// Maximum number of buckets in a part: 131,072 in all. Those that were not filled for the longest make room.
const BUCKETS_A_SHARD: NonZeroUsize = NonZeroUsize::new(8_192).unwrap();

/// Buckets by their ids, each with what is known of it.
type Shard = LruCache<Bucket, Known>;

/// What is known of a bucket, in times since the start.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// When it is empty.
    empty_at: Duration,
    /// When Redis was last asked for it.
    asked_at: Option<Duration>,
}

impl Known {
    /// Nothing but that it is not fuller than empty.
    fn empty(now: Duration) -> Self {
        Self { empty_at: now, asked_at: None }
    }
}

/// Known buckets, up to a maximum.
pub(super) struct BucketMemory {
    started: Instant,
    shards: [Mutex<Shard>; SHARDS],
}

impl BucketMemory {
    pub(super) fn new() -> Self {
        let shards = array::from_fn(|_| Mutex::new(LruCache::new(BUCKETS_A_SHARD)));
        Self { started: Instant::now(), shards }
    }

    /// The time since the start.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn level(&self, bucket: &Bucket, now: Duration) -> Level {
        // A look moves no bucket to the front of its part: the request that fills it does.
        let known = self.shard(bucket).peek(bucket).copied().unwrap_or_default();
        Level(known.empty_at.saturating_sub(now))
    }

    /// The level, if Redis was asked for it so recently.
    pub(super) fn recent_level(
        &self,
        bucket: &Bucket,
        now: Duration,
        within: Duration,
    ) -> Option<Level> {
        let known = self.shard(bucket).peek(bucket).copied()?;
        let is_recent = known.asked_at.is_some_and(|asked| now.saturating_sub(asked) <= within);
        is_recent.then(|| Level(known.empty_at.saturating_sub(now)))
    }

    /// Fills a bucket by one request.
    pub(super) fn fill(&self, bucket: Bucket, limit: RateLimit, now: Duration) -> Level {
        let mut shard = self.shard(&bucket);
        let known = shard.get_or_insert_mut(bucket, || Known::empty(now));
        known.empty_at = known.empty_at.max(now) + limit.interval();
        Level(known.empty_at.saturating_sub(now))
    }

    /// Remembers what Redis has said of a bucket. It said so after `asked`, so the bucket is not fuller than is remembered. What
    /// this instance has counted since may be missing there.
    pub(super) fn learn(&self, bucket: Bucket, asked: Duration, level: Level) {
        let mut shard = self.shard(&bucket);
        let known = shard.get_or_insert_mut(bucket, || Known::empty(asked));
        known.empty_at = known.empty_at.max(asked + level.0);
        known.asked_at = known.asked_at.max(Some(asked));
    }

    /// Whether a request fits into all of its buckets; it is not counted.
    pub(super) fn admission(&self, buckets: &Buckets, policies: &Policies) -> Admission {
        let now = self.now();
        let mut admission = Admission::default();
        for bucket in buckets.iter() {
            let Some(limit) = policies.of(&bucket) else { continue };
            let level = self.level(&bucket, now);
            admission.levels[bucket.by as usize] = Some((limit, level));
            let wait = limit.wait(level);
            if !wait.is_zero() && admission.refused.is_none() {
                admission.refused = Some((bucket.by, wait));
            }
        }
        admission
    }

    /// Counts a request in all of its buckets, unless it does not fit into one of them: then in none.
    pub(super) fn admit(&self, buckets: &Buckets, policies: &Policies) -> Admission {
        let now = self.now();
        let mut admission = Admission::default();
        for bucket in buckets.iter() {
            let Some(limit) = policies.of(&bucket) else { continue };
            match self.try_fill(bucket, limit, now) {
                Ok(level) => admission.levels[bucket.by as usize] = Some((limit, level)),
                Err(level) => {
                    let filled = admission.levels;
                    for bucket in buckets.iter() {
                        if let Some((limit, _)) = filled[bucket.by as usize] {
                            self.empty(bucket, limit);
                        }
                    }
                    admission.levels[bucket.by as usize] = Some((limit, level));
                    admission.refused = Some((bucket.by, limit.wait(level)));
                    break;
                }
            }
        }
        admission
    }

    /// Fills a bucket by one request, if it fits. Returns the level afterwards.
    fn try_fill(&self, bucket: Bucket, limit: RateLimit, now: Duration) -> Result<Level, Level> {
        let mut shard = self.shard(&bucket);
        let known = shard.get_or_insert_mut(bucket, || Known::empty(now));
        let level = Level(known.empty_at.saturating_sub(now));
        let filled = limit.admit(level).ok_or(level)?;
        known.empty_at = now + filled.0;
        Ok(filled)
    }

    /// Takes one request out of a bucket again.
    fn empty(&self, bucket: Bucket, limit: RateLimit) {
        if let Some(known) = self.shard(&bucket).get_mut(&bucket) {
            known.empty_at = known.empty_at.saturating_sub(limit.interval());
        }
    }

    /// Counts a request in all of its buckets, whether it fits or not. Returns the levels after it.
    pub(super) fn count(&self, buckets: &Buckets, policies: &Policies) -> Admission {
        let now = self.now();
        let mut admission = Admission::default();
        for bucket in buckets.iter() {
            let Some(limit) = policies.of(&bucket) else { continue };
            admission.levels[bucket.by as usize] = Some((limit, self.fill(bucket, limit, now)));
        }
        admission
    }

    fn shard(&self, bucket: &Bucket) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[usize::from(bucket.id[0]) % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let len = |shard: &Mutex<Shard>| shard.lock().unwrap().len();
        self.shards.iter().map(len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::policies::tests::policies;
    use super::*;
    use crate::application::ports::LimitedBy;

    fn bucket(number: u32) -> Bucket {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_le_bytes());
        Bucket { by: LimitedBy::Buyer, limit: LimitedBy::Buyer as u8, id }
    }

    fn buckets(number: u32) -> Buckets {
        let mut buckets = Buckets::default();
        buckets.set(bucket(number));
        buckets
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_bucket_refuses_until_there_is_room_for_one_request() {
        let (memory, policies) = (BucketMemory::new(), policies((Some("10/s burst 2"), None), &[]));
        memory.count(&buckets(1), &policies);
        memory.count(&buckets(1), &policies);

        let refused = memory.admission(&buckets(1), &policies).refused;
        assert_eq!(refused, Some((LimitedBy::Buyer, Duration::from_millis(100))));
        assert_eq!(memory.admission(&buckets(2), &policies).refused, None);
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(memory.admission(&buckets(1), &policies).refused, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_does_not_fit_is_counted_in_no_bucket() {
        let memory = BucketMemory::new();
        let policies = policies((Some("1/s burst 5"), Some("1/s burst 1")), &[]);
        let both = |number: u32| {
            let mut both = buckets(number);
            both.set(policies.bucket(LimitedBy::Address, "192.0.2.1").unwrap());
            both
        };

        assert_eq!(memory.admit(&both(1), &policies).refused, None);
        let refused = memory.admit(&both(1), &policies);

        assert_eq!(refused.refused, Some((LimitedBy::Address, Duration::from_secs(1))));
        assert_eq!(memory.level(&bucket(1), memory.now()), Level(Duration::from_secs(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_of_redis_makes_a_bucket_fuller_and_never_emptier() {
        let (memory, now) = (BucketMemory::new(), Duration::ZERO);
        memory.learn(bucket(1), now, Level(Duration::from_secs(2)));
        memory.learn(bucket(1), now, Level(Duration::from_secs(1)));

        assert_eq!(memory.level(&bucket(1), now), Level(Duration::from_secs(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_level_is_recent_for_a_time_after_redis_was_asked() {
        const SECOND: Duration = Duration::from_secs(1);
        let (memory, policies) = (BucketMemory::new(), policies((Some("10/s"), None), &[]));
        let recent = |now| memory.recent_level(&bucket(1), now, SECOND);

        memory.count(&buckets(1), &policies);
        assert_eq!(recent(Duration::ZERO), None);
        memory.learn(bucket(1), SECOND, Level(SECOND));

        assert_eq!(recent(SECOND * 2), Some(Level::default()));
        assert_eq!(recent(SECOND * 2 + Duration::from_nanos(1)), None);
    }

    #[test]
    fn a_million_buckets_take_the_room_of_a_hundred_thousand() {
        let (memory, policies) = (BucketMemory::new(), policies((Some("10/s"), None), &[]));

        for number in 0..1_000_000 {
            memory.count(&buckets(number), &policies);
        }

        assert!(memory.len() <= SHARDS * BUCKETS_A_SHARD.get());
    }
}
