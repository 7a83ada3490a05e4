//! Reads the buyers' totals in Redis, which `verify` compares with PostgreSQL.

use async_trait::async_trait;
use redis::RedisError;

use super::buyer_totals;
use super::connection::Redis;
use super::link::{BackgroundConnection, Scan};
use crate::application::ports::{CachedTotals, HintReader, PortError};
use crate::domain::ids::{BuyerId, SaleId};

/// Reads buyers' totals.
pub(crate) struct RedisHintReader {
    redis: Redis,
}

impl RedisHintReader {
    pub(crate) fn new(redis: Redis) -> Self {
        Self { redis }
    }

    async fn scan(
        &self,
        connection: &mut BackgroundConnection,
        sale: SaleId,
    ) -> Result<Vec<CachedTotals>, RedisError> {
        let mut scan = Scan::new(self.redis.keys().all_buyer_totals(sale));
        let mut totals = Vec::new();
        while let Some(keys) = scan.next(connection).await? {
            let texts = read_all(connection, &keys).await?;
            let found = keys.iter().zip(texts);
            totals.extend(found.filter_map(|(key, text)| self.parse(sale, key, text)));
        }
        Ok(totals)
    }

    fn parse(&self, sale: SaleId, key: &str, text: Option<String>) -> Option<CachedTotals> {
        let buyer = BuyerId::parse(self.redis.keys().buyer_of(sale, key)?).ok()?;
        let (version, pieces) = buyer_totals::parse(&text?)?;
        Some(CachedTotals { buyer, version, pieces })
    }
}

/// Reads all keys, which are of one sale and so on one node, in one round trip.
async fn read_all(
    connection: &mut BackgroundConnection,
    keys: &[String],
) -> Result<Vec<Option<String>>, RedisError> {
    // A step may find no keys, and an MGET without keys is an error.
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    redis::cmd("MGET").arg(keys).query_async(connection).await
}

#[async_trait]
impl HintReader for RedisHintReader {
    async fn cached_totals(&self, sale: SaleId) -> Result<Vec<CachedTotals>, PortError> {
        let scan = async |connection: &mut BackgroundConnection| self.scan(connection, sale).await;
        self.redis.call_pooled("buyers' totals", scan).await
    }
}
