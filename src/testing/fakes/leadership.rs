//! One leader for each background task, until its term ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::clock::FakeClock;
use crate::application::ports::{Clock, Leadership, PortError};

/// The leaders of all tasks.
pub(crate) struct FakeLeaderships {
    clock: Arc<FakeClock>,
    /// Leader and end of the term for each task.
    leaders: Mutex<HashMap<&'static str, (u32, Duration)>>,
}

/// One instance.
pub(crate) struct FakeLeadership {
    instance: u32,
    all: Arc<FakeLeaderships>,
}

impl FakeLeaderships {
    pub(crate) fn new(clock: Arc<FakeClock>) -> Arc<Self> {
        Arc::new(Self { clock, leaders: Mutex::default() })
    }

    pub(crate) fn instance(self: &Arc<Self>, instance: u32) -> Arc<FakeLeadership> {
        Arc::new(FakeLeadership { instance, all: Arc::clone(self) })
    }
}

#[async_trait]
impl Leadership for FakeLeadership {
    async fn lead(&self, task: &'static str, term: Duration) -> Result<bool, PortError> {
        let now = self.all.clock.monotonic();
        let mut leaders = self.all.leaders.lock().unwrap();
        let is_taken =
            leaders.get(task).is_some_and(|(leader, end)| *leader != self.instance && now < *end);
        if !is_taken {
            leaders.insert(task, (self.instance, now + term));
        }
        Ok(!is_taken)
    }
}
