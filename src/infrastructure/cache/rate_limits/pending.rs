//! Requests that were answered from memory and are not counted in Redis yet.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::application::ports::{Bucket, Buckets, LimitedBy};

/// Maximum number of buckets that wait.
const MAX_BUCKETS: usize = 65_536;
/// Requests gather for this time, so that those of one visit of a buyer, and of one address, are counted together. What is not counted
/// yet fits into the bucket, however long it takes. Less than the time for which it is known how full a bucket is.
const GATHER: Duration = Duration::from_millis(500);
/// The same for a bucket that half of what it may take waits for.
const GATHER_URGENT: Duration = Duration::from_millis(5);

/// How often each bucket was filled.
#[derive(Default)]
pub(super) struct Pending {
    waiting: Mutex<Waiting>,
    arrived: Notify,
    is_urgent: Notify,
}

#[derive(Default)]
struct Waiting {
    counts: HashMap<Bucket, u32>,
    /// Those of them that must not wait for the others.
    urgent: Vec<Bucket>,
    /// When the first one came.
    since: Option<Instant>,
}

impl Waiting {
    /// Takes the urgent ones, or all.
    fn take(&mut self, only_urgent: bool) -> Vec<(Bucket, u32)> {
        let Self { counts, urgent, since } = self;
        if only_urgent {
            return urgent.drain(..).filter_map(|bucket| counts.remove_entry(&bucket)).collect();
        }
        urgent.clear();
        *since = None;
        counts.drain().collect()
    }
}

impl Pending {
    /// Adds a request. What does not fit is counted by this instance alone.
    pub(super) fn add(&self, buckets: &Buckets) {
        let mut waiting = self.waiting();
        for bucket in buckets.iter() {
            if let Some(count) = waiting.counts.get_mut(&bucket) {
                *count = count.saturating_add(1);
            } else if waiting.counts.len() < MAX_BUCKETS {
                waiting.counts.insert(bucket, 1);
            }
        }
        self.announce(&mut waiting);
    }

    /// Adds a request to all of its buckets, unless too many wait at one of them. Returns whether it was added.
    pub(super) fn try_add(&self, buckets: &Buckets, at_most: impl Fn(&Bucket) -> u32) -> bool {
        let mut waiting = self.waiting();
        let Waiting { counts, urgent, .. } = &mut *waiting;
        let has_room = counts.len() + LimitedBy::ALL.len() <= MAX_BUCKETS;
        let there = |bucket: &Bucket| counts.get(bucket).copied().unwrap_or_default();
        if !has_room || !buckets.iter().all(|bucket| there(&bucket) < at_most(&bucket)) {
            return false;
        }
        for bucket in buckets.iter() {
            let count = counts.entry(bucket).or_default();
            *count += 1;
            if *count == at_most(&bucket).div_ceil(2) {
                urgent.push(bucket);
                self.is_urgent.notify_one();
            }
        }
        self.announce(&mut waiting);
        true
    }

    /// Takes the requests that wait at these buckets.
    pub(super) fn taken(&self, buckets: impl Iterator<Item = Bucket>) -> Vec<(Bucket, u32)> {
        let counts = &mut self.waiting().counts;
        if counts.is_empty() {
            return Vec::new();
        }
        buckets.filter_map(|bucket| counts.remove_entry(&bucket)).collect()
    }

    /// Waits for requests, and takes them.
    pub(super) async fn gathered(&self) -> Vec<(Bucket, u32)> {
        loop {
            let since = self.waiting().since;
            let Some(since) = since else {
                self.arrived.notified().await;
                continue;
            };
            let is_urgent = tokio::select! {
                () = tokio::time::sleep_until(since + GATHER) => false,
                () = self.is_urgent.notified() => true,
            };
            if is_urgent {
                tokio::time::sleep(GATHER_URGENT).await;
            }
            let gathered = self.waiting().take(is_urgent);
            if !gathered.is_empty() {
                return gathered;
            }
        }
    }

    fn announce(&self, waiting: &mut Waiting) {
        if waiting.since.is_none() && !waiting.counts.is_empty() {
            waiting.since = Some(Instant::now());
            self.arrived.notify_one();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(number: usize) -> Buckets {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        let mut buckets = Buckets::default();
        buckets.set(Bucket { by: LimitedBy::Address, limit: LimitedBy::Address as u8, id });
        buckets
    }

    #[tokio::test(start_paused = true)]
    async fn requests_of_one_bucket_are_counted_together_and_buckets_are_bounded() {
        let pending = Pending::default();
        for _ in 0..3 {
            pending.add(&buckets(0));
        }
        for number in 1..200_000 {
            pending.add(&buckets(number));
        }

        let gathered = pending.gathered().await;

        assert_eq!(gathered.len(), MAX_BUCKETS);
        let most = gathered.iter().map(|(_, count)| *count).max();
        assert_eq!(most, Some(3));
        pending.add(&buckets(7));
        assert_eq!(pending.gathered().await.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_takes_no_more_than_it_may_and_is_counted_before_the_others() {
        let pending = Pending::default();
        let [bucket, other] = [0, 1].map(|number| buckets(number).iter().next().unwrap());
        assert!(pending.try_add(&buckets(1), |_| 6));

        let added = (0..9).filter(|_| pending.try_add(&buckets(0), |_| 6)).count();

        assert_eq!(added, 6);
        let began = Instant::now();
        assert_eq!(pending.gathered().await, [(bucket, 6)]);
        assert!(began.elapsed() < GATHER / 10);
        assert_eq!(pending.gathered().await, [(other, 1)]);
        assert!(began.elapsed() >= GATHER);
        assert!(!pending.try_add(&buckets(0), |_| 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_along_with_a_call_is_not_counted_again() {
        let pending = Pending::default();
        let bucket = |number| buckets(number).iter().next().unwrap();
        pending.add(&buckets(1));
        pending.add(&buckets(1));
        pending.add(&buckets(2));

        assert_eq!(pending.taken([bucket(1), bucket(3), bucket(1)].into_iter()), [(bucket(1), 2)]);
        assert_eq!(pending.gathered().await, [(bucket(2), 1)]);
    }
}
