//! Reads the buyers' totals in Redis, which `verify` compares with PostgreSQL.

use async_trait::async_trait;
use deadpool_redis::Connection;
use redis::RedisError;

use super::buyer_totals;
use super::connection::Redis;
use crate::application::ports::{CachedTotals, HintReader, PortError};
use crate::domain::ids::{BuyerId, SaleId};

/// Keys that Redis examines in one step of a scan.
const SCAN_COUNT: usize = 1_000;

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
        connection: &mut Connection,
        sale: SaleId,
    ) -> Result<Vec<CachedTotals>, RedisError> {
        let pattern = self.redis.keys().all_buyer_totals(sale);
        let mut totals = Vec::new();
        let mut cursor = 0_u64;
        loop {
            let (next, keys): (u64, Vec<String>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(&pattern)
                .arg("COUNT")
                .arg(SCAN_COUNT)
                .query_async(connection)
                .await?;
            let texts = read_all(connection, &keys).await?;
            let found = keys.iter().zip(texts);
            totals.extend(found.filter_map(|(key, text)| self.parse(sale, key, text)));
            cursor = next;
            if cursor == 0 {
                return Ok(totals);
            }
        }
    }

    fn parse(&self, sale: SaleId, key: &str, text: Option<String>) -> Option<CachedTotals> {
        let buyer = BuyerId::parse(self.redis.keys().buyer_of(sale, key)?).ok()?;
        let (version, pieces) = buyer_totals::parse(&text?)?;
        Some(CachedTotals { buyer, version, pieces })
    }
}

/// Reads all keys in one round trip.
async fn read_all(
    connection: &mut Connection,
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
        let scan = async |connection: &mut Connection| self.scan(connection, sale).await;
        self.redis.call_pooled("buyers' totals", scan).await
    }
}
