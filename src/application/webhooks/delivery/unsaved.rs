//! What a delivery has achieved and not stored yet.

use std::time::Duration;

use crate::application::ports::{Leased, Progress};

/// Progress is stored this long after the last time,
const SAVE_INTERVAL: Duration = Duration::from_millis(100);
/// or when this much of it has gathered.
const SAVE_AT: usize = 500;

/// Progress that is not stored.
#[derive(Debug)]
pub(super) struct Unsaved {
    /// What has gathered.
    pub(super) progress: Progress,
    /// The position, the position in the replay and the failures that were stored last. `None` after a failure.
    stored: Option<(i64, Option<i64>, u32)>,
    saved_at: Duration,
}

impl Unsaved {
    /// Nothing, so far.
    pub(super) fn nothing(endpoint: &Leased, now: Duration) -> Self {
        let stored = Some((endpoint.position, None, endpoint.failures));
        Self { progress: Progress::default(), stored, saved_at: now }
    }

    /// Whether there is anything to store.
    pub(super) fn is_any(&self, position: i64, replayed: Option<i64>, failures: u32) -> bool {
        self.len() > 0 || self.stored != Some((position, replayed, failures))
    }

    /// Whether it is time to.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        now.saturating_sub(self.saved_at) >= SAVE_INTERVAL || self.len() >= SAVE_AT
    }

    /// Whether the store knows every event that waits, and every retry that has ended.
    pub(super) fn is_stored(&self) -> bool {
        self.len() == 0
    }

    /// Takes it out, to be stored.
    pub(super) fn take(&mut self, now: Duration, stored: (i64, Option<i64>, u32)) -> Progress {
        self.stored = Some(stored);
        self.saved_at = now;
        std::mem::take(&mut self.progress)
    }

    /// It could not be stored: it goes with what has followed.
    pub(super) fn take_back(&mut self, mut failed: Progress) {
        failed.set_aside.append(&mut self.progress.set_aside);
        failed.delivered.append(&mut self.progress.delivered);
        failed.retried.append(&mut self.progress.retried);
        self.progress = failed;
        self.stored = None;
    }

    fn len(&self) -> usize {
        let Progress { set_aside, delivered, retried, .. } = &self.progress;
        set_aside.len() + delivered.len() + retried.len()
    }
}
