//! Events as a Redis Stream, for consumer groups near the service.

use std::time::Duration;

use async_trait::async_trait;
use redis::streams::StreamMaxlen;

use super::connection::Redis;
use super::link::BackgroundConnection;
use crate::application::ports::{Event, EventSink, PortError};

const WHAT: &str = "the stream of events";
/// The field of an entry.
const FIELD: &str = "event";
/// Most events of one pipeline.
const EVENTS_A_CALL: usize = 128;
/// Every key in Redis expires: this one after a quiet month.
const EXPIRY: Duration = Duration::from_hours(30 * 24);

/// Appends to `{prefix}events`.
pub(crate) struct RedisEventStream {
    redis: Redis,
    max_length: usize,
}

impl RedisEventStream {
    /// Keeps about `max_length` entries.
    pub(crate) fn new(redis: Redis, max_length: usize) -> Self {
        Self { redis, max_length }
    }
}

#[async_trait]
impl EventSink for RedisEventStream {
    fn name(&self) -> &'static str {
        "stream"
    }

    async fn deliver(&self, events: &[Event]) -> Result<(), PortError> {
        let key = self.redis.keys().events();
        let expiry = i64::try_from(EXPIRY.as_millis()).unwrap_or(i64::MAX);
        for events in events.chunks(EVENTS_A_CALL) {
            let mut pipeline = redis::pipe();
            for event in events {
                let (limit, fields) =
                    (StreamMaxlen::Approx(self.max_length), [(FIELD, &*event.body)]);
                pipeline.xadd_maxlen(&key, limit, "*", &fields).ignore();
            }
            pipeline.pexpire(&key, expiry).ignore();
            let append = async |connection: &mut BackgroundConnection| {
                pipeline.query_async::<()>(connection).await
            };
            self.redis.call_pooled(WHAT, append).await?;
        }
        Ok(())
    }
}
