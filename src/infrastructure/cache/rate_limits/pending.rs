//! Requests that were answered from memory and are not counted in Redis yet.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::application::ports::{Bucket, Buckets};

/// Maximum number of buckets that wait. What does not fit is counted by this instance alone.
const MAX_BUCKETS: usize = 65_536;
/// Requests gather for this time, so that those of one visit of a buyer, and of one address, are counted together. What is not counted
/// yet fits into the bucket, however long it takes.
const GATHER: Duration = Duration::from_millis(100);

/// How often each bucket was filled.
#[derive(Default)]
pub(super) struct Pending {
    counts: Mutex<HashMap<Bucket, u32>>,
    arrived: Notify,
}

impl Pending {
    pub(super) fn add(&self, buckets: &Buckets) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = counts.is_empty();
        for bucket in buckets.iter() {
            if let Some(count) = counts.get_mut(&bucket) {
                *count = count.saturating_add(1);
            } else if counts.len() < MAX_BUCKETS {
                counts.insert(bucket, 1);
            }
        }
        if was_empty && !counts.is_empty() {
            self.arrived.notify_one();
        }
    }

    /// Waits for requests, and takes them.
    pub(super) async fn gathered(&self) -> Vec<(Bucket, u32)> {
        self.arrived.notified().await;
        tokio::time::sleep(GATHER).await;
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.drain().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::LimitedBy;

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
}
