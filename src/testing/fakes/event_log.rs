//! A log of events in memory.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::application::ports::{EventBatch, EventLog, EventPositions, PortError};
use crate::testing::builders::batch_of;

/// A log that only the test writes.
pub(crate) struct FakeEventLog(Mutex<Vec<EventBatch>>);

impl FakeEventLog {
    /// An empty log.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::default()))
    }

    /// Writes the next batch: a purchase of each of these buyers, in the second of its position.
    pub(crate) fn append(&self, buyers: &[&str]) {
        let mut batches = self.0.lock().unwrap();
        let position = i64::try_from(batches.len()).unwrap() + 1;
        batches.push(batch_of(position, buyers));
    }

    /// The ids of all events, in order.
    pub(crate) fn ids(&self) -> Vec<String> {
        let batches = self.0.lock().unwrap();
        batches.iter().flat_map(|batch| &batch.events).map(|event| event.id.clone()).collect()
    }
}

#[async_trait]
impl EventLog for FakeEventLog {
    async fn read(&self, after: i64, at_least: usize) -> Result<Vec<EventBatch>, PortError> {
        let (mut read, mut events) = (Vec::new(), 0);
        for batch in self.0.lock().unwrap().iter().filter(|batch| batch.position > after) {
            if events >= at_least {
                break;
            }
            events += batch.events.len();
            read.push(batch.clone());
        }
        Ok(read)
    }

    async fn end(&self) -> Result<i64, PortError> {
        Ok(self.0.lock().unwrap().last().map_or(0, |batch| batch.position))
    }
}

#[async_trait]
impl EventPositions for FakeEventLog {
    async fn end(&self) -> Result<i64, PortError> {
        EventLog::end(self).await
    }

    async fn position_at(&self, time: DateTime<Utc>) -> Result<i64, PortError> {
        let batches = self.0.lock().unwrap();
        let found = batches.iter().find(|batch| batch.written_at >= time);
        Ok(found.map_or(i64::try_from(batches.len()).unwrap() + 1, |batch| batch.position))
    }

    async fn position_before(&self, time: DateTime<Utc>) -> Result<i64, PortError> {
        let batches = self.0.lock().unwrap();
        let found = batches.iter().rfind(|batch| batch.written_at < time);
        Ok(found.map_or(0, |batch| batch.position))
    }
}
