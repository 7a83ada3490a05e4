//! One leader a chore, until its term is over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::clock::FakeClock;
use crate::application::ports::{Clock, Leadership, PortError};

/// Who leads until when.
pub(crate) struct FakeTerms {
    clock: Arc<FakeClock>,
    terms: Mutex<HashMap<&'static str, (u32, Duration)>>,
}

/// One instance.
pub(crate) struct FakeLeadership {
    instance: u32,
    terms: Arc<FakeTerms>,
}

impl FakeTerms {
    pub(crate) fn new(clock: Arc<FakeClock>) -> Arc<Self> {
        Arc::new(Self { clock, terms: Mutex::default() })
    }

    pub(crate) fn instance(self: &Arc<Self>, instance: u32) -> Arc<FakeLeadership> {
        Arc::new(FakeLeadership { instance, terms: Arc::clone(self) })
    }
}

#[async_trait]
impl Leadership for FakeLeadership {
    async fn lead(&self, chore: &'static str, term: Duration) -> Result<bool, PortError> {
        let now = self.terms.clock.monotonic();
        let mut terms = self.terms.terms.lock().unwrap();
        let is_taken =
            terms.get(chore).is_some_and(|(leader, end)| *leader != self.instance && now < *end);
        if !is_taken {
            terms.insert(chore, (self.instance, now + term));
        }
        Ok(!is_taken)
    }
}
