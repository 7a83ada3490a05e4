//! What Redis remembers of buyers, for `verify` to hold against PostgreSQL.

use async_trait::async_trait;
use redis::RedisError;
use redis::aio::ConnectionManager;

use super::connection::Redis;
use super::standing;
use crate::application::ports::{MemoryReader, PortError, Remembered};
use crate::domain::ids::{BuyerId, SaleId};

/// Keys that one step of a scan looks at.
const SCAN_COUNT: usize = 1_000;

/// Reads standings.
pub(crate) struct RedisMemoryReader {
    redis: Redis,
}

impl RedisMemoryReader {
    pub(crate) fn new(redis: Redis) -> Self {
        Self { redis }
    }

    async fn standings(&self, sale: SaleId) -> Result<Vec<Remembered>, RedisError> {
        let mut manager = self.redis.manager();
        let glob = self.redis.keys().all_standings(sale);
        let mut standings = Vec::new();
        let mut cursor = 0_u64;
        loop {
            let (next, keys): (u64, Vec<String>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(&glob)
                .arg("COUNT")
                .arg(SCAN_COUNT)
                .query_async(&mut manager)
                .await?;
            let found = read_all(&mut manager, &keys).await?;
            let found = keys.iter().zip(found);
            standings.extend(found.filter_map(|(key, text)| self.standing(sale, key, text)));
            cursor = next;
            if cursor == 0 {
                return Ok(standings);
            }
        }
    }

    fn standing(&self, sale: SaleId, key: &str, text: Option<String>) -> Option<Remembered> {
        let buyer = BuyerId::parse(self.redis.keys().buyer_of(sale, key)?).ok()?;
        let (version, pieces) = standing::read(&text?)?;
        Some(Remembered { buyer, version, pieces })
    }
}

/// One round trip for all keys of a step, not one for each.
async fn read_all(
    manager: &mut ConnectionManager,
    keys: &[String],
) -> Result<Vec<Option<String>>, RedisError> {
    // A step may find nothing, and an MGET of nothing is an error.
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    redis::cmd("MGET").arg(keys).query_async(manager).await
}

#[async_trait]
impl MemoryReader for RedisMemoryReader {
    async fn remembered(&self, sale: SaleId) -> Result<Vec<Remembered>, PortError> {
        self.redis.call("the shared memory", self.standings(sale)).await
    }
}
