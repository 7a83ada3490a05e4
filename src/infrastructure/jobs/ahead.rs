//! Claims jobs ahead of their turn while they are short. A claim takes a round trip and a statement; with only as many jobs in it as
//! there are free slots, a worker of ten slots spends its time on claims.
//!
//! What is claimed ahead is what will begin within a moment at the pace of the last one, so that jobs that take seconds are claimed one
//! by one, and no other worker stands idle beside them. A job that waits for longer all the same is given back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

/// What ended within this time is claimed ahead for the next.
const MOMENT: Duration = Duration::from_millis(50);
/// Most jobs that are claimed ahead.
const MOST_AHEAD: usize = 1_000;
/// A job that has waited this long for its turn is given back: others may be free. Much shorter than the margin of River's timeout.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Why a job that was claimed ahead got no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoTurn {
    /// The worker stops.
    Stop,
    /// Jobs have become slow.
    Busy,
}

/// The slots in which jobs run, beside those that were claimed ahead and wait.
pub(crate) struct Turns {
    slots: usize,
    free: Semaphore,
    ended: AtomicUsize,
    work: Notify,
}

/// A job's slot.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    _slot: SemaphorePermit<'a>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.ended.fetch_add(1, Ordering::Relaxed);
        self.turns.work.notify_one();
    }
}

impl Turns {
    /// For this many jobs at a time.
    pub(crate) fn of(slots: usize) -> Self {
        Self { slots, free: Semaphore::new(slots), ended: AtomicUsize::new(0), work: Notify::new() }
    }

    /// Waits for a slot, in the order of the claims.
    pub(super) async fn next(&self, stop: &CancellationToken) -> Result<Turn<'_>, NoTurn> {
        tokio::select! {
            biased;
            slot = self.free.acquire() => {
                slot.map(|slot| Turn { turns: self, _slot: slot }).map_err(|_| NoTurn::Stop)
            }
            () = stop.cancelled() => Err(NoTurn::Stop),
            () = tokio::time::sleep(LONGEST_WAIT) => Err(NoTurn::Busy),
        }
    }

    /// Calls this with the number of jobs to have claimed, whenever it changes. Sleeps while no job ends.
    pub(super) async fn follow(&self, mut claim: impl FnMut(usize)) {
        let mut now = self.slots;
        loop {
            self.work.notified().await;
            let before = self.ended.load(Ordering::Relaxed);
            tokio::time::sleep(MOMENT).await;
            let ended = self.ended.load(Ordering::Relaxed).wrapping_sub(before);
            let next = self.slots + ended.min(MOST_AHEAD);
            if next != now {
                now = next;
                claim(next);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_more_jobs_run_than_there_are_slots_and_others_follow_in_order() {
        let (turns, never) = (Turns::of(2), CancellationToken::new());
        let first = turns.next(&never).await.unwrap();
        let _second = turns.next(&never).await.unwrap();
        let mut third = pin!(turns.next(&never));
        let mut fourth = pin!(turns.next(&never));

        assert!(poll!(&mut third).is_pending());
        assert!(poll!(&mut fourth).is_pending());
        drop(first);

        assert!(poll!(&mut fourth).is_pending());
        assert!(poll!(&mut third).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_gets_no_turn_when_the_worker_stops_or_other_jobs_take_long() {
        let (turns, stop) = (Turns::of(1), CancellationToken::new());
        let _running = turns.next(&stop).await.unwrap();

        assert_eq!(turns.next(&stop).await.err(), Some(NoTurn::Busy));

        let mut waiting = pin!(turns.next(&stop));
        assert!(poll!(&mut waiting).is_pending());
        stop.cancel();
        assert_eq!(waiting.await.err(), Some(NoTurn::Stop));
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_are_claimed_ahead_as_have_just_ended_and_none_when_jobs_take_long() {
        let (turns, never) = (Turns::of(10), CancellationToken::new());
        let claimed = RefCell::new(Vec::new());
        let follow = turns.follow(|jobs| claimed.borrow_mut().push(jobs));
        let end = async |jobs: usize| {
            for _ in 0..jobs {
                drop(turns.next(&never).await);
            }
        };

        let jobs = async {
            end(1).await;
            tokio::time::sleep(MOMENT / 2).await;
            end(3).await;
            tokio::time::sleep(MOMENT).await;
            assert_eq!(claimed.take(), [13]);
            tokio::time::sleep(MOMENT).await;
        };
        tokio::select! {
            () = follow => {}
            () = jobs => {}
        }

        assert_eq!(claimed.take(), [10]);
    }
}
