//! Jobs and schedules, for commands.

use std::sync::Arc;

use crate::application::jobs::change_schedules::{ChangeSchedules, ChangeSchedulesPorts};
use crate::application::jobs::retry_dead::RetryDead;
use crate::application::ports::{
    JobQueue, JobReader, JobRepair, JobTypes, ScheduleRuns, ScheduleStore,
};
use crate::config::Config;
use crate::infrastructure::jobs::KnownTypes;
use crate::infrastructure::persistence::{
    Database, PostgresJobQueue, PostgresJobReader, PostgresJobRepair, PostgresScheduleRuns,
    PostgresScheduleStore,
};
use crate::infrastructure::schedule::CronerTimes;

/// Use cases and ports of `job` and `schedule`.
pub(crate) struct OfflineJobs {
    pub(crate) types: Arc<dyn JobTypes>,
    pub(crate) queue: Arc<dyn JobQueue>,
    pub(crate) reader: Arc<dyn JobReader>,
    pub(crate) repair: Arc<dyn JobRepair>,
    pub(crate) retry_dead: RetryDead,
    pub(crate) schedules: Arc<dyn ScheduleStore>,
    pub(crate) change_schedules: ChangeSchedules,
}

impl OfflineJobs {
    pub(super) fn new(config: &Config, database: &Database) -> Self {
        let types: Arc<dyn JobTypes> = Arc::new(KnownTypes::new(config.jobs.max_attempts));
        let repair: Arc<dyn JobRepair> = Arc::new(PostgresJobRepair::new(database.clone()));
        let schedules: Arc<dyn ScheduleStore> =
            Arc::new(PostgresScheduleStore::new(database.clone()));
        let runs: Arc<dyn ScheduleRuns> = Arc::new(PostgresScheduleRuns::new(database.clone()));
        Self {
            queue: Arc::new(PostgresJobQueue::new(database.clone())),
            reader: Arc::new(PostgresJobReader::new(database.clone())),
            retry_dead: RetryDead::new(Arc::clone(&repair)),
            change_schedules: ChangeSchedules::new(ChangeSchedulesPorts {
                store: Arc::clone(&schedules),
                runs,
                types: Arc::clone(&types),
                times: Arc::new(CronerTimes),
            }),
            types,
            repair,
            schedules,
        }
    }
}
