//! Metrics of jobs and schedules.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry,
};

use super::types::TYPES;
use crate::application::ports::JobCount;
use crate::domain::job::{JobPriority, JobState, ScheduleName};

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The job is done.
    Succeeded,
    /// The handler returned an error, or the payload is of no use.
    Failed,
    /// It took longer than it may.
    TimedOut,
    /// The handler panicked.
    Panicked,
    /// The worker lost touch with PostgreSQL and gave its jobs up.
    LeaseLost,
    /// The worker stopped, and gave the job back: the attempt does not count.
    GivenBack,
    /// The worker had claimed it ahead, had no slot for it after all, and gave it back: the attempt does not count.
    NoSlot,
}

impl Outcome {
    const ALL: [Self; 7] = [
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Panicked,
        Self::LeaseLost,
        Self::GivenBack,
        Self::NoSlot,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Panicked => "panicked",
            Self::LeaseLost => "lease_lost",
            Self::GivenBack => "given_back",
            Self::NoSlot => "no_slot",
        }
    }
}

/// The children of one type.
struct OfType {
    runs: [IntCounter; Outcome::ALL.len()],
    duration: Histogram,
}

/// The registered metrics.
pub(crate) struct JobMetrics {
    jobs: IntGaugeVec,
    oldest: IntGaugeVec,
    taken_over: IntCounter,
    of_types: BTreeMap<&'static str, OfType>,
    schedule_runs: IntCounterVec,
}

impl JobMetrics {
    /// Registers the metrics.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let jobs = IntGaugeVec::new(
            Opts::new("flash_sale_jobs", "Jobs that are not done, by state and priority."),
            &["state", "priority"],
        )?;
        let oldest = IntGaugeVec::new(
            Opts::new(
                "flash_sale_job_oldest_waiting_seconds",
                "For how long the job that waits longest for a worker could have run.",
            ),
            &["priority"],
        )?;
        let taken_over = IntCounter::new(
            "flash_sale_jobs_taken_over_total",
            "Jobs that this worker took from workers that died.",
        )?;
        let runs = IntCounterVec::new(
            Opts::new("flash_sale_job_runs_total", "Attempts of jobs, by type and outcome."),
            &["type", "outcome"],
        )?;
        let duration = HistogramVec::new(
            HistogramOpts::new(
                "flash_sale_job_duration_seconds",
                "Time of attempts that got a slot, by type.",
            )
            .buckets(vec![
                0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
                60.0, 300.0,
            ]),
            &["type"],
        )?;
        let schedule_runs = IntCounterVec::new(
            Opts::new("flash_sale_schedule_runs_total", "Runs of schedules, by outcome."),
            &["name", "outcome"],
        )?;
        registry.register(Box::new(jobs.clone()))?;
        registry.register(Box::new(oldest.clone()))?;
        registry.register(Box::new(taken_over.clone()))?;
        registry.register(Box::new(runs.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(schedule_runs.clone()))?;
        let of_types = TYPES.iter().map(|spec| {
            let run = |outcome: Outcome| runs.with_label_values(&[spec.name, outcome.as_str()]);
            let duration = duration.with_label_values(&[spec.name]);
            (spec.name, OfType { runs: Outcome::ALL.map(run), duration })
        });
        let metrics =
            Self { jobs, oldest, taken_over, of_types: of_types.collect(), schedule_runs };
        metrics.counted(&[]);
        Ok(metrics)
    }

    /// Shows these numbers, and zero for what is not among them.
    pub(crate) fn counted(&self, counts: &[JobCount]) {
        let states = JobState::ALL.into_iter().filter(|state| *state != JobState::Done);
        for (state, priority) in
            states.flat_map(|state| JobPriority::ALL.map(|priority| (state, priority)))
        {
            let count =
                counts.iter().find(|count| (count.state, count.priority) == (state, priority));
            let labels = [state.as_str(), priority.as_str()];
            let jobs = count.map_or(0, |count| i64::try_from(count.jobs).unwrap_or(i64::MAX));
            self.jobs.with_label_values(&labels).set(jobs);
            if state == JobState::Waiting {
                let age = count.map_or(0, |count| count.oldest.as_secs());
                let age = i64::try_from(age).unwrap_or(i64::MAX);
                self.oldest.with_label_values(&[priority.as_str()]).set(age);
            }
        }
    }

    pub(super) fn took_over(&self, jobs: usize) {
        self.taken_over.inc_by(u64::try_from(jobs).unwrap_or(u64::MAX));
    }

    /// `took` is `None` for an attempt that got no slot: it did not run.
    pub(super) fn ran(&self, job_type: &str, outcome: Outcome, took: Option<Duration>) {
        let Some(of_type) = self.of_types.get(job_type) else { return };
        of_type.runs[outcome as usize].inc();
        if let Some(took) = took {
            of_type.duration.observe(took.as_secs_f64());
        }
    }

    #[cfg(test)]
    pub(super) fn counted_runs(&self, job_type: &str, outcome: Outcome) -> u64 {
        self.of_types[job_type].runs[outcome as usize].get()
    }

    /// Names of schedules are an operator's, and there are at most a thousand.
    pub(crate) fn schedule_ran(&self, name: &ScheduleName, outcome: &str, times: u64) {
        self.schedule_runs.with_label_values(&[name.as_str(), outcome]).inc_by(times);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_that_got_no_slot_is_counted_and_has_no_duration() {
        let metrics = JobMetrics::register(&Registry::new()).unwrap();

        metrics.ran("noop", Outcome::NoSlot, None);
        metrics.ran("noop", Outcome::Succeeded, Some(Duration::from_secs(1)));

        let noop = &metrics.of_types["noop"];
        assert_eq!(noop.runs[Outcome::NoSlot as usize].get(), 1);
        assert_eq!(noop.duration.get_sample_count(), 1);
    }
}
