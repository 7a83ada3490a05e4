//! What the attempts of a worker share, and how their ends are recorded and reported.

use std::sync::Arc;
use std::time::Duration;

use riverqueue::JobRow;

use super::ahead::Turns;
use super::metrics::JobMetrics;
use crate::application::jobs::lease::Lease;
use crate::application::ports::{AttemptEnd, Causes, EndedAttempt, ScheduleRuns, WorkerJobs};
use crate::domain::job::{JobId, ScheduleName, backoff};

/// Longest error on record, in bytes.
const MAX_ERROR_BYTES: usize = 2_000;

/// What all attempts of a worker share.
pub(crate) struct Desk {
    pub(crate) worker: String,
    pub(crate) jobs: Arc<dyn WorkerJobs>,
    pub(crate) schedules: Arc<dyn ScheduleRuns>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) metrics: Arc<JobMetrics>,
    pub(crate) timeout: Duration,
    /// Of the jobs that share the slots of `jobs.workers`.
    pub(crate) turns: Turns,
}

/// An attempt that River has begun.
pub(super) struct Attempt<'a> {
    pub(super) job_type: &'static str,
    pub(super) row: &'a JobRow,
}

impl Attempt<'_> {
    pub(super) fn number(&self) -> u16 {
        u16::try_from(self.row.attempt).unwrap_or(u16::MAX)
    }
}

impl Desk {
    /// Records a failed attempt.
    pub(super) async fn record(&self, attempt: &Attempt<'_>, error: &str, may_retry: bool) {
        let &Attempt { job_type, row } = attempt;
        let Some(id) = JobId::new(row.id) else { return };
        let number = attempt.number();
        let has_more = i32::from(number) < row.max_attempts;
        let retry_in = (may_retry && has_more).then(|| backoff(id, number));
        let error = bounded(error);
        match retry_in {
            None => {
                tracing::error!(job = row.id, job_type, attempt = number, error, "a job is dead");
            }
            Some(_) if number == 1 => {
                tracing::warn!(job = row.id, job_type, error, "a job failed and is retried");
            }
            Some(_) => {
                let attempt = number;
                tracing::debug!(job = row.id, job_type, attempt, error, "a job failed again");
            }
        }
        self.end(attempt, AttemptEnd::Failed { error, retry_in }).await;
        self.report(row, if retry_in.is_some() { "failed" } else { "dead" }).await;
    }

    /// Ends an attempt by PostgreSQL's clock, if the job is still this worker's. River finds it ended then, and changes nothing. If that
    /// cannot be recorded, River does it by its own clock, as soon as PostgreSQL is back.
    pub(super) async fn end(&self, attempt: &Attempt<'_>, end: AttemptEnd) {
        let &Attempt { job_type, row } = attempt;
        let Some(id) = JobId::new(row.id) else { return };
        let ended =
            EndedAttempt { id, attempt: attempt.number(), worker: self.worker.clone(), end };
        match self.jobs.end(&ended).await {
            Ok(true) => {}
            Ok(false) => tracing::warn!(job = row.id, job_type, "a job is another worker's now"),
            Err(error) => {
                let error = Causes(&error);
                tracing::debug!(job = row.id, %error, "the end of an attempt is not recorded yet");
            }
        }
    }

    /// Tells the job's schedule, if it has one, what became of it.
    pub(super) async fn report(&self, row: &JobRow, outcome: &'static str) {
        let name = row.metadata.get::<String>("schedule").ok().flatten();
        let name = name.as_deref().and_then(ScheduleName::parse);
        let (Some(name), Some(id)) = (name, JobId::new(row.id)) else { return };
        self.metrics.schedule_ran(&name, outcome, 1);
        if let Err(error) = self.schedules.finished(&name, id, outcome).await {
            tracing::debug!(job = row.id, error = %Causes(&error), "an outcome is not recorded");
        }
    }
}

/// What PostgreSQL stores: not too long, and without NUL.
fn bounded(error: &str) -> String {
    let mut end = MAX_ERROR_BYTES.min(error.len());
    while !error.is_char_boundary(end) {
        end -= 1;
    }
    error[..end].replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_on_record_is_short_and_without_what_postgresql_does_not_store() {
        let long = format!("a\0{}", "é".repeat(2_000));

        let short = bounded(&long);

        assert!(short.len() <= MAX_ERROR_BYTES + 2 && short.starts_with("a\u{fffd}é"), "{short}");
    }
}
