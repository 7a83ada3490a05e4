//! Counts requests in Redis: `rate_limit.lua`, one call for many requests.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use redis::Script;

use super::memory::BucketMemory;
use super::pending::Pending;
use super::policies::{LivePolicies, Policies};
use crate::application::ports::{Admission, Bucket, Buckets, PortError};
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

impl Counted {
    /// Requests that were answered already.
    pub(super) fn in_any_case((bucket, weight): (Bucket, u32)) -> Self {
        let mut buckets = Buckets::default();
        buckets.set(bucket);
        Self { buckets, weight, in_any_case: true }
    }
}

/// Counts in Redis, and remembers what it says.
pub(super) struct SharedCounts {
    pub(super) redis: Redis,
    pub(super) policies: Arc<LivePolicies>,
    pub(super) memory: Arc<BucketMemory>,
    pub(super) pending: Arc<Pending>,
}

impl SharedCounts {
    /// Counts these requests in order, in one call.
    pub(super) async fn count(&self, requests: &[Counted]) -> Result<Vec<Admission>, PortError> {
        let policies = &self.policies.get().whole;
        let mut call = RATE_LIMIT.prepare_invoke();
        let mut places: HashMap<Bucket, usize> = HashMap::new();
        // The limits of this call, and for each bucket the place of its own among them.
        let (mut limits, mut limit_of): (Vec<u8>, Vec<usize>) = (Vec::new(), Vec::new());
        for bucket in requests.iter().flat_map(|request| limited(&request.buckets, policies)) {
            if places.contains_key(&bucket) {
                continue;
            }
            places.insert(bucket, places.len() + 1);
            call.key(self.redis.keys().bucket(&bucket));
            let place = limits.iter().position(|limit| *limit == bucket.limit);
            let place = place.unwrap_or_else(|| {
                limits.push(bucket.limit);
                limits.len() - 1
            });
            // In Lua the first place is 1.
            limit_of.push(place + 1);
        }
        if places.is_empty() {
            return Ok(requests.iter().map(|_| Admission::default()).collect());
        }
        call.arg(limits.len());
        for limit in limits.iter().filter_map(|place| policies.at(*place)) {
            call.arg(micros(limit.interval())).arg(micros(limit.capacity()));
        }
        call.arg(limit_of);
        for Counted { buckets, weight, in_any_case } in requests {
            call.arg(*weight).arg(u8::from(*in_any_case)).arg(limited(buckets, policies).count());
            for bucket in limited(buckets, policies) {
                call.arg(places[&bucket]);
            }
        }
        let asked = self.memory.now();
        let replies: Vec<i64> = self.redis.invoke(WHAT, &call).await?;
        self.admissions(requests, policies, (&replies, asked)).ok_or_else(|| PortError::Broken {
            what: WHAT,
            source: "wrong number of replies".into(),
        })
    }

    /// What the replies say; `None` if they are too few or too many.
    fn admissions(
        &self,
        requests: &[Counted],
        policies: &Policies,
        (replies, asked): (&[i64], Duration),
    ) -> Option<Vec<Admission>> {
        let mut replies = replies.iter();
        let mut admissions = Vec::with_capacity(requests.len());
        for Counted { buckets, .. } in requests {
            let full = *replies.next()?;
            let mut admission = Admission::default();
            for (place, bucket) in (1..).zip(limited(buckets, policies)) {
                let limit = policies.of(&bucket)?;
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

/// Those of the buckets that still have a limit.
fn limited<'b>(buckets: &'b Buckets, policies: &'b Policies) -> impl Iterator<Item = Bucket> + 'b {
    buckets.iter().filter(|bucket| policies.of(bucket).is_some())
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
        // First what this instance has admitted to the same buckets: they are as full as all of its clients have made them.
        let buckets = batch.requests().iter().flat_map(Buckets::iter);
        let mut requests: Vec<Counted> =
            self.pending.taken(buckets).into_iter().map(Counted::in_any_case).collect();
        let earlier = requests.len();
        let asked =
            |buckets: &Buckets| Counted { buckets: *buckets, weight: 1, in_any_case: false };
        requests.extend(batch.requests().iter().map(asked));
        match self.count(&requests).await {
            Ok(admissions) => batch.answer(admissions.into_iter().skip(earlier).map(Some)),
            Err(error) => {
                tracing::debug!(%error, "requests are counted by this instance alone");
                batch.answer(std::iter::repeat(None));
            }
        }
        Batch::empty()
    }
}
