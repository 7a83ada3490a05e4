//! Run schedules: enqueues the jobs of schedules that are due, each run once, whichever instance is first.
//!
//! **Missed runs.** A schedule that was due several times while no process ran schedules runs once, at once; the others are counted and
//! left out. What a schedule does is about the state of now (prune, rebuild, report), so one run makes up for all.
//!
//! **Types of a newer release.** An instance leaves a schedule alone whose type or payload it does not know: another one may.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};

use crate::application::ports::{
    CronTimes, DueSchedules, JobSchedule, JobTypes, NewJob, PortError, ScheduleRun, ScheduleRuns,
};
use crate::domain::job::{JobKey, JobPriority, ScheduleName};

/// Missed runs that are counted; further ones are left out uncounted.
const MAX_MISSED: u64 = 1_000;

/// What happened to a schedule that was due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScheduleEvent {
    /// Its job is enqueued; so many runs before this one were missed.
    Enqueued {
        /// The schedule.
        name: ScheduleName,
        /// Missed runs.
        missed: u64,
    },
    /// This release cannot run it. Reported once.
    Refused {
        /// The schedule.
        name: ScheduleName,
        /// Why.
        why: String,
    },
}

/// Runs schedules.
pub struct RunSchedules {
    runs: Arc<dyn ScheduleRuns>,
    types: Arc<dyn JobTypes>,
    times: Arc<dyn CronTimes>,
    /// Those that have been reported.
    refused: Mutex<BTreeSet<ScheduleName>>,
}

impl RunSchedules {
    /// Runs these schedules.
    #[must_use]
    pub fn new(
        runs: Arc<dyn ScheduleRuns>,
        types: Arc<dyn JobTypes>,
        times: Arc<dyn CronTimes>,
    ) -> Self {
        Self { runs, types, times, refused: Mutex::default() }
    }

    /// Enqueues what is due. To be called several times a second, by every instance.
    pub async fn execute(&self) -> Result<Vec<ScheduleEvent>, PortError> {
        let DueSchedules { now, schedules } = self.runs.due().await?;
        let mut events = Vec::new();
        for schedule in schedules {
            let Some(due) = schedule.next_run_at else { continue };
            match self.planned(&schedule, due, now) {
                Ok((run, missed)) => {
                    if self.runs.run(&run).await?.is_some() {
                        events.push(ScheduleEvent::Enqueued { name: schedule.name, missed });
                    }
                }
                Err(why) => {
                    let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
                    if refused.insert(schedule.name.clone()) {
                        events.push(ScheduleEvent::Refused { name: schedule.name, why });
                    }
                }
            }
        }
        Ok(events)
    }

    /// The run, and how many were missed before it.
    fn planned(
        &self,
        schedule: &JobSchedule,
        due: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(ScheduleRun, u64), String> {
        let job = scheduled_job(&*self.types, schedule, due)?;
        let next = |moment| self.times.next(&schedule.cron, &schedule.time_zone, moment);
        let mut missed = 0;
        let mut following = next(due).map_err(|error| error.to_string())?;
        while following.is_some_and(|moment| moment <= now) {
            if missed == MAX_MISSED {
                following = next(now).map_err(|error| error.to_string())?;
                break;
            }
            missed += 1;
            following =
                following.map(next).transpose().map_err(|error| error.to_string())?.flatten();
        }
        let moves = Some((due, following));
        Ok((ScheduleRun { name: schedule.name.clone(), moves, job, actor: None }, missed))
    }
}

/// The job of a run at this time. Its key is the run's: the same run never has two jobs.
pub(super) fn scheduled_job(
    types: &dyn JobTypes,
    schedule: &JobSchedule,
    moment: DateTime<Utc>,
) -> Result<NewJob, String> {
    let work = types
        .work(&schedule.job_type, Some(schedule.payload_version), &schedule.payload)
        .map_err(|error| error.to_string())?;
    let run = format!("schedule {} {}", schedule.name, moment.to_rfc3339());
    Ok(NewJob {
        work,
        priority: JobPriority::Normal,
        delay: std::time::Duration::ZERO,
        key: JobKey::parse(&run),
        schedule: Some(schedule.name.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::{
        Enqueued, InvalidWork, JobWork, MockCronTimes, MockJobTypes, MockScheduleRuns,
    };
    use crate::testing::builders::{a_job, a_schedule, at};

    fn types(known: bool) -> Arc<MockJobTypes> {
        let mut types = MockJobTypes::new();
        types.expect_work().returning(move |_, version, payload| {
            if !known {
                return Err(InvalidWork::UnknownType { name: "x".into(), known: vec![] });
            }
            let payload = payload.to_owned();
            Ok(JobWork {
                job_type: "noop",
                version: version.unwrap(),
                payload,
                queue: "default",
                max_attempts: 3,
            })
        });
        Arc::new(types)
    }

    /// Every ten seconds.
    fn times() -> Arc<MockCronTimes> {
        let mut times = MockCronTimes::new();
        times
            .expect_next()
            .returning(|_, _, moment| Ok(Some(at((moment.timestamp().div_euclid(10) + 1) * 10))));
        Arc::new(times)
    }

    /// One schedule that was due at 100; what is run goes into the list.
    fn due(now: i64, is_first: bool) -> (MockScheduleRuns, Arc<Mutex<Vec<ScheduleRun>>>) {
        let ran = Arc::new(Mutex::new(Vec::new()));
        let (mut runs, list) = (MockScheduleRuns::new(), Arc::clone(&ran));
        runs.expect_due().returning(move || {
            let mut schedule = a_schedule("tens");
            schedule.next_run_at = Some(at(100));
            Ok(DueSchedules { now: at(now), schedules: vec![schedule] })
        });
        runs.expect_run().returning(move |run| {
            list.lock().unwrap().push(run.clone());
            Ok(is_first.then(|| Enqueued { job: a_job(1), is_new: true }))
        });
        (runs, ran)
    }

    fn name() -> ScheduleName {
        ScheduleName::parse("tens").unwrap()
    }

    #[tokio::test]
    async fn a_due_schedule_is_enqueued_under_the_key_of_its_run_and_moves_on() {
        let (runs, ran) = due(100, true);

        let events = RunSchedules::new(Arc::new(runs), types(true), times()).execute().await;

        assert_eq!(events.unwrap(), [ScheduleEvent::Enqueued { name: name(), missed: 0 }]);
        let ran = ran.lock().unwrap();
        assert_eq!(ran[0].moves, Some((at(100), Some(at(110)))));
        let key = ran[0].job.key.as_ref().unwrap().as_str();
        assert_eq!(key, "schedule tens 1970-01-01T00:01:40+00:00");
    }

    #[tokio::test]
    async fn missed_runs_are_made_up_for_once_and_counted() {
        let (runs, ran) = due(145, true);

        let events = RunSchedules::new(Arc::new(runs), types(true), times()).execute().await;

        assert_eq!(events.unwrap(), [ScheduleEvent::Enqueued { name: name(), missed: 4 }]);
        assert_eq!(ran.lock().unwrap()[0].moves, Some((at(100), Some(at(150)))));
    }

    #[tokio::test]
    async fn years_of_missed_runs_are_not_counted_one_by_one() {
        let (runs, ran) = due(1_000_000_005, true);

        let events = RunSchedules::new(Arc::new(runs), types(true), times()).execute().await;

        let enqueued = ScheduleEvent::Enqueued { name: name(), missed: MAX_MISSED };
        assert_eq!(events.unwrap(), [enqueued]);
        assert_eq!(ran.lock().unwrap()[0].moves, Some((at(100), Some(at(1_000_000_010)))));
    }

    #[tokio::test]
    async fn the_instance_that_is_second_has_enqueued_nothing() {
        let (runs, _) = due(100, false);

        let events = RunSchedules::new(Arc::new(runs), types(true), times()).execute().await;

        assert_eq!(events.unwrap(), []);
    }

    #[tokio::test]
    async fn what_this_release_does_not_know_is_left_to_others_and_reported_once() {
        let (runs, ran) = due(100, true);
        let schedules = RunSchedules::new(Arc::new(runs), types(false), times());

        let first = schedules.execute().await.unwrap();
        let second = schedules.execute().await.unwrap();

        assert!(matches!(&first[..], [ScheduleEvent::Refused { .. }]), "{first:?}");
        assert_eq!(second, []);
        assert!(ran.lock().unwrap().is_empty());
    }
}
