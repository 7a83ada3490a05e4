//! Retry dead jobs: puts them back, in steps, so that a million of them take neither memory nor a long transaction.

use std::sync::Arc;

use crate::application::ports::{JobRepair, PortError};

/// Jobs of one transaction.
const STEP: u32 = 1_000;

/// What has been put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetriedJobs {
    /// Jobs that wait again.
    pub retried: u64,
    /// Jobs that stay dead, because another job has their key.
    pub left: u64,
}

/// Puts dead jobs back.
pub struct RetryDead {
    jobs: Arc<dyn JobRepair>,
}

impl RetryDead {
    /// Over these jobs.
    #[must_use]
    pub fn new(jobs: Arc<dyn JobRepair>) -> Self {
        Self { jobs }
    }

    /// Puts the dead jobs back, of one type if given. A job that dies again meanwhile has a number that was passed already, or is put
    /// back once more at most.
    pub async fn execute(
        &self,
        job_type: Option<&str>,
        actor: &str,
    ) -> Result<RetriedJobs, PortError> {
        let mut all = RetriedJobs::default();
        let mut after = None;
        loop {
            let job_type = job_type.map(str::to_owned);
            let step = self.jobs.retry_dead(job_type, after, STEP, actor).await?;
            all.retried += step.retried;
            all.left += step.left;
            let Some(last) = step.last else { return Ok(all) };
            after = Some(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::{MockJobRepair, PutBack};
    use crate::domain::job::JobId;

    #[tokio::test]
    async fn all_steps_are_counted_and_each_begins_behind_the_one_before() {
        let mut jobs = MockJobRepair::new();
        jobs.expect_retry_dead().times(3).returning(|job_type, after, limit, actor| {
            assert_eq!((job_type.as_deref(), limit, actor), (Some("noop"), STEP, "eve"));
            let (retried, left, last) = match after.map(JobId::get) {
                None => (1_000, 0, JobId::new(1_000)),
                Some(1_000) => (3, 2, JobId::new(1_005)),
                Some(_) => (0, 0, None),
            };
            Ok(PutBack { retried, left, last })
        });

        let all = RetryDead::new(Arc::new(jobs)).execute(Some("noop"), "eve").await.unwrap();

        assert_eq!(all, RetriedJobs { retried: 1_003, left: 2 });
    }
}
