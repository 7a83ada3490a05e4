//! Tend jobs: a worker reports that it is alive, lets jobs wait whose time has come, and takes the jobs of workers that have died.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::lease::{DEAD_AFTER, Lease};
use crate::application::ports::{Clock, PortError, TakenOver, WorkerJobs};

/// Tends jobs for one worker.
pub struct TendJobs {
    jobs: Arc<dyn WorkerJobs>,
    clock: Arc<dyn Clock>,
    lease: Arc<Lease>,
    worker: String,
    /// Since when every renewal has succeeded.
    in_touch_since: Mutex<Option<Duration>>,
}

impl TendJobs {
    /// `lease` is the worker's.
    #[must_use]
    pub fn new(
        jobs: Arc<dyn WorkerJobs>,
        clock: Arc<dyn Clock>,
        lease: Arc<Lease>,
        worker: String,
    ) -> Self {
        Self { jobs, clock, lease, worker, in_touch_since: Mutex::default() }
    }

    /// To be called several times a second. Returns the jobs that were taken from dead workers.
    pub async fn execute(&self) -> Result<Vec<TakenOver>, PortError> {
        let sent = self.clock.monotonic();
        if let Err(error) = self.jobs.renew(&self.worker).await {
            *self.in_touch_since.lock().unwrap_or_else(PoisonError::into_inner) = None;
            return Err(error);
        }
        self.lease.renewed(sent);
        self.jobs.promote().await?;
        if self.has_been_in_touch(sent) {
            self.jobs.take_over(DEAD_AFTER).await
        } else {
            Ok(Vec::new())
        }
    }

    /// After an outage of PostgreSQL all workers look dead. They have the time that a lease takes to show that they are not.
    fn has_been_in_touch(&self, now: Duration) -> bool {
        let mut since = self.in_touch_since.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *since.get_or_insert(now);
        now.saturating_sub(since) >= DEAD_AFTER
    }

    /// The worker runs no job any more.
    pub async fn release(&self) -> Result<(), PortError> {
        self.jobs.release(&self.worker).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::MockWorkerJobs;
    use crate::testing::builders::{at, unavailable};
    use crate::testing::fakes::FakeClock;

    fn tend(jobs: MockWorkerJobs, clock: &Arc<FakeClock>) -> (TendJobs, Arc<Lease>) {
        let clock: Arc<dyn Clock> = Arc::<FakeClock>::clone(clock);
        let lease = Arc::new(Lease::new(Arc::clone(&clock)));
        (TendJobs::new(Arc::new(jobs), clock, Arc::clone(&lease), "w".to_owned()), lease)
    }

    #[tokio::test]
    async fn after_an_outage_the_others_have_time_to_show_that_they_live() {
        let clock = FakeClock::at(at(0));
        let mut jobs = MockWorkerJobs::new();
        let mut renewals = vec![true, true, false, true].into_iter();
        jobs.expect_renew().returning(move |_| {
            if renewals.next().unwrap_or(true) { Ok(()) } else { Err(unavailable()) }
        });
        jobs.expect_promote().returning(|| Ok(0));
        // At 3 s, and then only 3 s after the outage.
        jobs.expect_take_over().times(2).returning(|_| Ok(Vec::new()));
        let (tend, _) = tend(jobs, &clock);

        for (step, is_ok) in [(0, true), (3, true), (1, false), (1, true), (2, true), (1, true)] {
            clock.advance(Duration::from_secs(step));
            assert_eq!(tend.execute().await.is_ok(), is_ok, "{step}");
        }
    }

    #[tokio::test]
    async fn a_renewal_counts_from_when_it_was_sent() {
        let clock = FakeClock::at(at(0));
        clock.advance(Duration::from_secs(1));
        let mut jobs = MockWorkerJobs::new();
        let slow = Arc::clone(&clock);
        jobs.expect_renew().returning(move |_| {
            slow.advance(Duration::from_secs(2));
            Ok(())
        });
        jobs.expect_promote().returning(|| Ok(0));
        let (tend, lease) = tend(jobs, &clock);

        tend.execute().await.unwrap();

        assert_eq!(lease.remaining(), Duration::from_millis(500));
    }
}
