//! Tells all instances by pub/sub that a sale has changed, on the channel of sold-out items: the message names the sale and no item.

use std::sync::Arc;

use async_trait::async_trait;

use super::connection::Redis;
use super::sold_out_message;
use crate::application::history::History;
use crate::application::ports::{PortError, SaleNotifications};
use crate::domain::ids::SaleId;

/// Publishes at once: an operator waits for it.
pub(crate) struct RedisSaleNotifications {
    redis: Redis,
    history: Arc<History>,
}

impl RedisSaleNotifications {
    /// Speaks for instances that work in this history.
    pub(crate) fn new(redis: Redis, history: Arc<History>) -> Self {
        Self { redis, history }
    }

    /// Connects ahead of the first message, so that it goes out at once. Whatever fails here fails again then.
    pub(crate) async fn connect(&self) {
        self.redis.look_up_master().await;
        let mut manager = self.redis.manager();
        let _ = redis::cmd("PING").query_async::<String>(&mut manager).await;
    }
}

#[async_trait]
impl SaleNotifications for RedisSaleNotifications {
    async fn changed(&self, sale: SaleId) -> Result<(), PortError> {
        self.redis.look_up_master().await;
        sold_out_message::publish(&self.redis, self.history.id(), sale, &[]).await
    }
}
