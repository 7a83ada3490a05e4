//! Turns: of equal requests that arrive together one runs, and the others wait for what it stores.
//!
//! A request that finds the lock free pays nothing for this. One that finds it held looks whether the result is stored
//! already, and again after each pause. So repeats of a stored result never queue for the lock one behind the other, and
//! repeats of a running request all get its result at once.

use std::sync::Arc;
use std::time::Duration;

use super::ports::{Clock, Pause, PortError};

/// First and longest pause of a request that waits for another one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

/// Lets equal requests take turns.
#[derive(Clone)]
pub struct Turns {
    /// Measures the wait.
    pub clock: Arc<dyn Clock>,
    /// Waits.
    pub pause: Arc<dyn Pause>,
    /// How long a request waits for the one that runs.
    pub wait: Duration,
}

/// What a request is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn<R, S> {
    /// It runs.
    Run(R),
    /// An equal request has run, and stored this.
    Stored(S),
    /// An equal request was still running when the wait was over.
    InProgress,
}

impl Turns {
    /// Takes the lock, or waits for what its holder stores. `Run(None)` if the locks are unavailable: they are optional,
    /// because PostgreSQL alone lets one request take effect.
    pub async fn next<L, S, A, B>(
        &self,
        acquire: impl Fn() -> A,
        stored: impl Fn() -> B,
    ) -> Result<Turn<Option<L>, S>, PortError>
    where
        A: Future<Output = Result<Option<L>, PortError>>,
        B: Future<Output = Result<Option<S>, PortError>>,
    {
        let (mut pause, longest) = PAUSES;
        let mut deadline = None;
        loop {
            match acquire().await {
                Ok(Some(lease)) => return Ok(Turn::Run(Some(lease))),
                Ok(None) => {}
                Err(_) => return Ok(Turn::Run(None)),
            }
            if let Some(stored) = stored().await? {
                return Ok(Turn::Stored(stored));
            }
            let now = self.clock.monotonic();
            if now + pause > *deadline.get_or_insert(now + self.wait) {
                return Ok(Turn::InProgress);
            }
            self.pause.pause(pause).await;
            pause = (pause * 2).min(longest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::testing::builders::{at, unavailable};
    use crate::testing::fakes::{FakeClock, FakePause};

    const WAIT: Duration = Duration::from_secs(1);

    type Lease = &'static str;
    type Outcome = u32;

    fn turns() -> Turns {
        let clock = FakeClock::at(at(0));
        Turns { pause: Arc::new(FakePause(Arc::clone(&clock))), clock, wait: WAIT }
    }

    async fn nothing_stored() -> Result<Option<Outcome>, PortError> {
        Ok(None)
    }

    async fn held() -> Result<Option<Lease>, PortError> {
        Ok(None)
    }

    #[tokio::test]
    async fn a_request_that_finds_the_lock_free_reads_nothing() {
        let acquire = || async { Ok(Some("lease")) };
        let stored = || async { panic!("it reads what is stored") };

        let turn = turns().next::<Lease, Outcome, _, _>(acquire, stored).await.unwrap();

        assert_eq!(turn, Turn::Run(Some("lease")));
    }

    #[tokio::test]
    async fn what_is_stored_is_returned_without_a_pause_while_the_lock_is_held() {
        let turns = turns();
        let before = turns.clock.monotonic();

        let turn = turns.next(held, || async { Ok(Some(7)) }).await.unwrap();

        assert_eq!((turn, turns.clock.monotonic()), (Turn::Stored(7), before));
    }

    #[tokio::test]
    async fn a_request_waits_for_what_the_holder_stores() {
        let reads = AtomicU32::new(0);
        let stored = || async { Ok((reads.fetch_add(1, Ordering::Relaxed) == 5).then_some(7)) };

        assert_eq!(turns().next(held, stored).await.unwrap(), Turn::Stored(7));
    }

    #[tokio::test]
    async fn a_request_runs_when_the_lock_of_a_dead_holder_is_free() {
        let tries = AtomicU32::new(0);
        let acquire =
            || async { Ok((tries.fetch_add(1, Ordering::Relaxed) == 5).then_some("lease")) };

        let turn = turns().next(acquire, nothing_stored).await.unwrap();

        assert_eq!(turn, Turn::Run(Some("lease")));
    }

    #[tokio::test]
    async fn the_wait_ends() {
        let turns = turns();
        let before = turns.clock.monotonic();

        let turn = turns.next(held, nothing_stored).await.unwrap();

        assert_eq!(turn, Turn::InProgress);
        assert!(turns.clock.monotonic() <= before + WAIT);
    }

    #[tokio::test]
    async fn without_locks_a_request_runs_at_once() {
        let acquire = || async { Err::<Option<Lease>, _>(unavailable()) };

        assert_eq!(turns().next(acquire, nothing_stored).await.unwrap(), Turn::Run(None));
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_an_error() {
        let stored = || async { Err::<Option<Outcome>, _>(unavailable()) };

        assert!(turns().next(held, stored).await.is_err());
    }
}
