//! Change schedules: what operators do with them, while instances run them.

use std::sync::Arc;

use super::run_schedules::scheduled_job;
use crate::application::ports::{
    AddedSchedule, CronTimes, Enqueued, InvalidTimes, InvalidWork, JobSchedule, JobTypes,
    PortError, ScheduleRun, ScheduleRuns, ScheduleStore,
};
use crate::domain::job::ScheduleName;

/// A schedule to be added.
#[derive(Debug, Clone)]
pub struct NewSchedule {
    /// Its name.
    pub name: ScheduleName,
    /// The cron expression.
    pub cron: String,
    /// Name of the time zone.
    pub time_zone: String,
    /// The type of its jobs.
    pub job_type: String,
    /// The payload of its jobs as JSON.
    pub payload: String,
}

/// Why a schedule was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeScheduleError {
    /// There is none of this name.
    #[error("there is no schedule {0}")]
    NotFound(ScheduleName),
    /// There is one of this name.
    #[error("there is a schedule {0} already: remove it first, or choose another name")]
    Exists(ScheduleName),
    /// There are as many as there may be.
    #[error("there are as many schedules as there may be: remove one first")]
    TooMany,
    /// The expression or the time zone.
    #[error(transparent)]
    Times(#[from] InvalidTimes),
    /// It would never run.
    #[error("{0:?} matches no date from now on")]
    Never(String),
    /// The type or the payload.
    #[error(transparent)]
    Work(#[from] InvalidWork),
    /// A stored schedule cannot be run by this release.
    #[error("this release cannot run it: {0}")]
    Refused(String),
    /// A port failed.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// The ports of [`ChangeSchedules`].
pub struct ChangeSchedulesPorts {
    /// Keeps schedules.
    pub store: Arc<dyn ScheduleStore>,
    /// Runs them.
    pub runs: Arc<dyn ScheduleRuns>,
    /// Knows the types of jobs.
    pub types: Arc<dyn JobTypes>,
    /// Computes their times.
    pub times: Arc<dyn CronTimes>,
}

/// Changes schedules.
pub struct ChangeSchedules {
    ports: ChangeSchedulesPorts,
}

impl ChangeSchedules {
    /// Over these ports.
    #[must_use]
    pub fn new(ports: ChangeSchedulesPorts) -> Self {
        Self { ports }
    }

    /// Adds a schedule. It first runs at the next time of its expression.
    pub async fn add(
        &self,
        new: NewSchedule,
        actor: &str,
    ) -> Result<JobSchedule, ChangeScheduleError> {
        let work = self.ports.types.work(&new.job_type, None, &new.payload)?;
        let (existing, now) = self.ports.store.find(&new.name).await?;
        if existing.is_some() {
            return Err(ChangeScheduleError::Exists(new.name));
        }
        let next = self.ports.times.next(&new.cron, &new.time_zone, now)?;
        let next = next.ok_or_else(|| ChangeScheduleError::Never(new.cron.clone()))?;
        let schedule = JobSchedule {
            name: new.name,
            cron: new.cron,
            time_zone: new.time_zone,
            job_type: work.job_type.to_owned(),
            payload_version: work.version,
            payload: work.payload,
            paused: false,
            next_run_at: Some(next),
            last_run_at: None,
            last_outcome: None,
        };
        match self.ports.store.add(&schedule, actor).await? {
            AddedSchedule::Added => Ok(schedule),
            AddedSchedule::Exists => Err(ChangeScheduleError::Exists(schedule.name)),
            AddedSchedule::TooMany => Err(ChangeScheduleError::TooMany),
        }
    }

    /// Pauses a schedule: it does not run until it is resumed.
    pub async fn pause(
        &self,
        name: &ScheduleName,
        actor: &str,
    ) -> Result<JobSchedule, ChangeScheduleError> {
        let paused = self.ports.store.set_next(name, true, None, actor).await?;
        paused.ok_or_else(|| ChangeScheduleError::NotFound(name.clone()))
    }

    /// Resumes a paused schedule at its next time. What it missed while it was paused is not made up for. One that is not paused stays
    /// as it is.
    pub async fn resume(
        &self,
        name: &ScheduleName,
        actor: &str,
    ) -> Result<JobSchedule, ChangeScheduleError> {
        let (schedule, now) = self.ports.store.find(name).await?;
        let schedule = schedule.ok_or_else(|| ChangeScheduleError::NotFound(name.clone()))?;
        if !schedule.paused {
            return Ok(schedule);
        }
        let next = self.ports.times.next(&schedule.cron, &schedule.time_zone, now)?;
        let resumed = self.ports.store.set_next(name, false, next, actor).await?;
        resumed.ok_or_else(|| ChangeScheduleError::NotFound(name.clone()))
    }

    /// Enqueues the job of a schedule now, also of a paused one. Its next run stays where it is.
    pub async fn run(
        &self,
        name: &ScheduleName,
        actor: &str,
    ) -> Result<Enqueued, ChangeScheduleError> {
        let (schedule, now) = self.ports.store.find(name).await?;
        let schedule = schedule.ok_or_else(|| ChangeScheduleError::NotFound(name.clone()))?;
        let mut job = scheduled_job(&*self.ports.types, &schedule, now)
            .map_err(ChangeScheduleError::Refused)?;
        // An operator who asks twice wants two runs.
        job.key = None;
        let run =
            ScheduleRun { name: name.clone(), moves: None, job, actor: Some(actor.to_owned()) };
        let enqueued = self.ports.runs.run(&run).await?;
        enqueued.ok_or_else(|| ChangeScheduleError::NotFound(name.clone()))
    }

    /// Removes a schedule. Its jobs that are enqueued stay.
    pub async fn remove(
        &self,
        name: &ScheduleName,
        actor: &str,
    ) -> Result<JobSchedule, ChangeScheduleError> {
        let removed = self.ports.store.remove(name, actor).await?;
        removed.ok_or_else(|| ChangeScheduleError::NotFound(name.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::{
        JobWork, MockCronTimes, MockJobTypes, MockScheduleRuns, MockScheduleStore,
    };
    use crate::testing::builders::{a_job, a_schedule, at};

    fn name() -> ScheduleName {
        ScheduleName::parse("tens").unwrap()
    }

    fn changes(
        store: MockScheduleStore,
        runs: MockScheduleRuns,
        next: Option<i64>,
    ) -> ChangeSchedules {
        let mut times = MockCronTimes::new();
        times.expect_next().returning(move |_, _, _| Ok(next.map(at)));
        let mut types = MockJobTypes::new();
        types.expect_work().returning(|_, version, payload| {
            Ok(JobWork {
                job_type: "noop",
                version: version.unwrap_or(7),
                payload: payload.to_owned(),
                queue: "default",
                max_attempts: 3,
            })
        });
        ChangeSchedules::new(ChangeSchedulesPorts {
            store: Arc::new(store),
            runs: Arc::new(runs),
            types: Arc::new(types),
            times: Arc::new(times),
        })
    }

    fn finding(schedule: Option<JobSchedule>) -> MockScheduleStore {
        let mut store = MockScheduleStore::new();
        store.expect_find().returning(move |_| Ok((schedule.clone(), at(5))));
        store
    }

    fn new() -> NewSchedule {
        NewSchedule {
            name: name(),
            cron: "*/10 * * * * *".into(),
            time_zone: "UTC".into(),
            job_type: "noop".into(),
            payload: "{}".into(),
        }
    }

    #[tokio::test]
    async fn a_new_schedule_runs_at_its_next_time_with_the_newest_payload() {
        let mut store = finding(None);
        store.expect_add().once().returning(|_, _| Ok(AddedSchedule::Added));

        let added =
            changes(store, MockScheduleRuns::new(), Some(10)).add(new(), "eve").await.unwrap();

        assert_eq!((added.next_run_at, added.payload_version), (Some(at(10)), 7));
    }

    #[tokio::test]
    async fn a_schedule_that_would_never_run_or_exists_is_refused() {
        let never = changes(finding(None), MockScheduleRuns::new(), None).add(new(), "eve").await;
        let taken = finding(Some(a_schedule("tens")));
        let taken = changes(taken, MockScheduleRuns::new(), Some(10)).add(new(), "eve").await;
        let mut race = finding(None);
        race.expect_add().returning(|_, _| Ok(AddedSchedule::Exists));
        let race = changes(race, MockScheduleRuns::new(), Some(10)).add(new(), "eve").await;

        assert!(matches!(never, Err(ChangeScheduleError::Never(_))), "{never:?}");
        assert!(matches!(taken, Err(ChangeScheduleError::Exists(_))), "{taken:?}");
        assert!(matches!(race, Err(ChangeScheduleError::Exists(_))), "{race:?}");
    }

    #[tokio::test]
    async fn a_resumed_schedule_makes_up_for_nothing() {
        let mut paused = a_schedule("tens");
        paused.paused = true;
        let mut store = finding(Some(paused));
        store.expect_set_next().once().returning(|_, paused, next, _| {
            assert_eq!((paused, next), (false, Some(at(10))));
            Ok(Some(a_schedule("tens")))
        });

        changes(store, MockScheduleRuns::new(), Some(10)).resume(&name(), "eve").await.unwrap();
    }

    #[tokio::test]
    async fn a_run_by_hand_moves_nothing_and_has_no_key() {
        let mut runs = MockScheduleRuns::new();
        runs.expect_run().once().returning(|run| {
            assert_eq!((run.moves, &run.job.key), (None, &None));
            assert_eq!(run.actor.as_deref(), Some("eve"));
            Ok(Some(Enqueued { job: a_job(1), is_new: true }))
        });

        changes(finding(Some(a_schedule("tens"))), runs, None).run(&name(), "eve").await.unwrap();
    }

    #[tokio::test]
    async fn a_schedule_that_is_not_there_cannot_be_changed() {
        let mut store = finding(None);
        store.expect_set_next().returning(|_, _, _, _| Ok(None));
        store.expect_remove().returning(|_, _| Ok(None));
        let changes = changes(store, MockScheduleRuns::new(), Some(10));

        for result in [
            changes.pause(&name(), "eve").await.map(drop),
            changes.resume(&name(), "eve").await.map(drop),
            changes.run(&name(), "eve").await.map(drop),
            changes.remove(&name(), "eve").await.map(drop),
        ] {
            assert!(matches!(result, Err(ChangeScheduleError::NotFound(_))), "{result:?}");
        }
    }
}
