//! Announces sold-out items to the other instances by pub/sub, within milliseconds. An instance that is not subscribed at
//! that moment misses the message and learns of the items when they are asked for.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::connection::Redis;
use super::reason;
use super::sold_out_message;
use super::writer::CacheWriter;
use crate::application::history::History;
use crate::application::ports::{SoldOutEvent, SoldOutEvents};
use crate::domain::ids::{ItemNo, SaleId};

/// Pause before the next attempt to subscribe.
const RESUBSCRIBE_AFTER: Duration = Duration::from_millis(500);

/// Publishes through the cache writer.
pub(crate) struct RedisSoldOutEvents {
    cache_writer: CacheWriter,
}

impl RedisSoldOutEvents {
    pub(crate) fn new(cache_writer: CacheWriter) -> Self {
        Self { cache_writer }
    }
}

impl SoldOutEvents for RedisSoldOutEvents {
    fn publish(&self, sale: SaleId, sold_out: &[ItemNo]) {
        self.cache_writer.publish_sold_out(sale, sold_out);
    }
}

/// Called with every message, also with those of this instance.
pub(crate) type OnSoldOut = Arc<dyn Fn(SoldOutEvent) + Send + Sync>;

/// Receives the messages of all instances.
pub(crate) struct SoldOutListener {
    redis: Redis,
    history: Arc<History>,
    on_sold_out: OnSoldOut,
}

impl SoldOutListener {
    pub(crate) fn new(redis: Redis, history: Arc<History>, on_sold_out: OnSoldOut) -> Self {
        Self { redis, history, on_sold_out }
    }

    /// Listens until `stop`, subscribing again whenever the connection breaks.
    pub(crate) async fn listen(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => return,
                result = self.receive() => {
                    if let Err(error) = result {
                        self.redis.note_refusal(&error);
                        let reason = reason::of(&error);
                        tracing::debug!(%reason, "the subscription to sold-out events broke");
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RESUBSCRIBE_AFTER) => {}
            }
        }
    }

    /// Receives until the subscription breaks, or the master is another one.
    async fn receive(&self) -> Result<(), redis::RedisError> {
        let mut moves = self.redis.moves();
        let Some(mut subscription) = self.redis.subscriber().await? else {
            return Ok(());
        };
        subscription.subscribe(self.redis.keys().sold_out_events()).await?;
        let mut messages = subscription.on_message();
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                _ = moves.changed() => None,
            };
            let Some(message) = message else { return Ok(()) };
            // Whatever is published on the channel: a payload may be no text.
            let text = String::from_utf8_lossy(message.get_payload_bytes());
            (self.on_sold_out)(sold_out_message::parse(&text, self.history.id()));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::contracts::sold_out_events::sold_out_events_contract;
    use crate::testing::servers::RedisWorld;

    sold_out_events_contract!(RedisWorld::open());
}
