//! Counts requests in Redis: `rate_limit.lua`, one call for many requests.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use redis::Script;

use super::memory::{BucketMemory, Policies};
use crate::application::ports::{Admission, Bucket, Buckets, LimitedBy, PortError};
use crate::domain::rate_limit::Level;
use crate::infrastructure::batching::{Batch, BatchWork};
use crate::infrastructure::cache::connection::Redis;
use crate::infrastructure::cache::script::script;

static RATE_LIMIT: LazyLock<Script> = script!("rate_limit");

const WHAT: &str = "the rate limits";

/// Requests of one call: how often each is counted, and whether in any case.
pub(super) struct Counted {
    pub(super) buckets: Buckets,
    pub(super) weight: u32,
    pub(super) in_any_case: bool,
}

/// Counts in Redis, and remembers what it says.
pub(super) struct SharedCounts {
    pub(super) redis: Redis,
    pub(super) policies: Policies,
    pub(super) memory: Arc<BucketMemory>,
}

impl SharedCounts {
    /// Counts these requests in order, in one call.
    pub(super) async fn count(&self, requests: &[Counted]) -> Result<Vec<Admission>, PortError> {
        let mut call = RATE_LIMIT.prepare_invoke();
        let mut places: HashMap<Bucket, usize> = HashMap::new();
        let known: Vec<LimitedBy> = self.policies_in_use().map(|(by, _)| by).collect();
        let policy_of = |by| known.iter().position(|known| *known == by).map_or(0, |at| at + 1);
        let mut kinds = Vec::new();
        for bucket in requests.iter().flat_map(|request| request.buckets.iter()) {
            if places.contains_key(&bucket) {
                continue;
            }
            places.insert(bucket, places.len() + 1);
            call.key(self.redis.keys().bucket(&bucket));
            kinds.push(policy_of(bucket.by));
        }
        if places.is_empty() {
            return Ok(requests.iter().map(|_| Admission::default()).collect());
        }
        call.arg(known.len());
        for (_, limit) in self.policies_in_use() {
            call.arg(micros(limit.interval())).arg(micros(limit.capacity()));
        }
        call.arg(kinds);
        for Counted { buckets, weight, in_any_case } in requests {
            call.arg(*weight).arg(u8::from(*in_any_case)).arg(buckets.iter().count());
            for bucket in buckets.iter() {
                call.arg(places[&bucket]);
            }
        }
        let asked = self.memory.now();
        let replies: Vec<i64> = self.redis.invoke(WHAT, &call).await?;
        self.admissions(requests, &replies, asked).ok_or_else(|| PortError::Broken {
            what: WHAT,
            source: "wrong number of replies".into(),
        })
    }

    fn policies_in_use(
        &self,
    ) -> impl Iterator<Item = (LimitedBy, crate::domain::rate_limit::RateLimit)> + '_ {
        LimitedBy::ALL.into_iter().zip(self.policies).filter_map(|(by, limit)| Some((by, limit?)))
    }

    /// What the replies say; `None` if they are too few or too many.
    fn admissions(
        &self,
        requests: &[Counted],
        replies: &[i64],
        asked: Duration,
    ) -> Option<Vec<Admission>> {
        let mut replies = replies.iter();
        let mut admissions = Vec::with_capacity(requests.len());
        for Counted { buckets, .. } in requests {
            let full = *replies.next()?;
            let mut admission = Admission::default();
            for (place, bucket) in (1..).zip(buckets.iter()) {
                let limit = self.policies[bucket.by as usize]?;
                let level = Duration::from_micros(u64::try_from(*replies.next()?).ok()?);
                self.memory.learn(bucket, asked, Level(level));
                admission.levels[bucket.by as usize] = Some((limit, Level(level)));
                if place == full {
                    admission.refused = Some((bucket.by, limit.wait(Level(level))));
                }
            }
            admissions.push(admission);
        }
        replies.next().is_none().then_some(admissions)
    }
}

/// Microseconds with their fraction.
fn micros(time: Duration) -> String {
    format!("{}.{:03}", time.as_micros(), time.subsec_nanos() % 1_000)
}

pub(super) type CountBatch = Batch<Buckets, Option<Admission>>;

#[async_trait]
impl BatchWork for Arc<SharedCounts> {
    type Key = ();
    type Request = Buckets;
    type Reply = Option<Admission>;

    async fn serve(&self, (): (), batch: CountBatch) -> CountBatch {
        let requests: Vec<Counted> = batch
            .requests()
            .iter()
            .map(|buckets| Counted { buckets: *buckets, weight: 1, in_any_case: false })
            .collect();
        match self.count(&requests).await {
            Ok(admissions) => batch.answer(admissions.into_iter().map(Some)),
            Err(error) => {
                tracing::debug!(%error, "requests are counted by this instance alone");
                batch.answer(std::iter::repeat(None));
            }
        }
        Batch::empty()
    }
}
