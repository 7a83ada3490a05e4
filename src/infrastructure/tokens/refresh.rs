//! Reads a key set again: at intervals, and when a token names a key that is not in it.
//!
//! One task reads, so that any number of tokens cause one reading at a time. A token of an unknown key causes one at most every
//! [`COOLDOWN`], and its request waits for [`PATIENCE`] at most. After a failed reading the keys stay what they were.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Unknown keys cause a reading at most this often.
pub(super) const COOLDOWN: Duration = Duration::from_secs(30);
/// How long a request waits for a reading.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// Requests for readings, and news of them.
pub(super) struct Refresh {
    wanted: Notify,
    caused: Mutex<Caused>,
    /// Counts completed readings.
    completed: watch::Sender<u64>,
}

/// The last reading that an unknown key has caused.
#[derive(Default)]
struct Caused {
    at: Option<Instant>,
    is_under_way: bool,
}

impl Refresh {
    pub(super) fn new() -> Self {
        let (completed, _) = watch::channel(0);
        Self { wanted: Notify::new(), caused: Mutex::default(), completed }
    }

    /// The number of completed readings.
    pub(super) fn readings(&self) -> u64 {
        *self.completed.borrow()
    }

    /// Waits for a reading after the first so many. Returns whether there was one, in time.
    pub(super) async fn after(&self, readings: u64) -> bool {
        let mut completed = self.completed.subscribe();
        if *completed.borrow_and_update() > readings {
            return true;
        }
        if !self.want() {
            return false;
        }
        let news = completed.wait_for(|count| *count > readings);
        tokio::time::timeout(PATIENCE, news).await.is_ok_and(|waited| waited.is_ok())
    }

    /// Asks for a reading, unless too little time has passed since the last. Returns whether one is under way.
    fn want(&self) -> bool {
        let mut caused = self.caused();
        if caused.is_under_way {
            return true;
        }
        if caused.at.is_some_and(|last| last.elapsed() < COOLDOWN) {
            return false;
        }
        *caused = Caused { at: Some(Instant::now()), is_under_way: true };
        self.wanted.notify_one();
        true
    }

    fn caused(&self) -> MutexGuard<'_, Caused> {
        self.caused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a reading is due: after `interval`, or when one is wanted.
    pub(super) async fn due(&self, interval: Duration) {
        let _ = tokio::time::timeout(interval, self.wanted.notified()).await;
    }

    /// Tells those who wait that a reading is completed.
    pub(super) fn complete(&self) {
        self.caused().is_under_way = false;
        self.completed.send_modify(|count| *count += 1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn any_number_of_unknown_keys_cause_one_reading_in_half_a_minute() {
        let refresh = Arc::new(Refresh::new());
        let reader = Arc::clone(&refresh);
        let readings = async move {
            loop {
                reader.due(Duration::MAX).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
                reader.complete();
            }
        };
        let asking = async {
            let first = join_all((0..1_000).map(|_| refresh.after(0))).await;
            assert!(first.into_iter().all(|is_news| is_news));
            tokio::time::sleep(COOLDOWN.saturating_sub(Duration::from_secs(1))).await;
            assert!(!refresh.after(1).await);
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert!(refresh.after(1).await);
            assert_eq!(refresh.readings(), 2);
        };

        tokio::select! { () = readings => {}, () = asking => {} }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_a_second_for_a_reading_that_does_not_end() {
        let began = Instant::now();

        assert!(!Refresh::new().after(0).await);

        assert_eq!(began.elapsed(), PATIENCE);
    }
}
