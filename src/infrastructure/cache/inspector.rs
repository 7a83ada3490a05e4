//! What Redis remembers of buyers, for `verify` to hold against PostgreSQL.

use async_trait::async_trait;
use redis::RedisError;

use super::connection::Redis;
use crate::application::ports::{MemoryReader, PiecesOfBuyer, PortError};
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

    async fn standings(&self, sale: SaleId) -> Result<Vec<PiecesOfBuyer>, RedisError> {
        let mut manager = self.redis.manager();
        let glob = self.redis.keys().all_standings(sale);
        let mut pieces = Vec::new();
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
            for key in keys {
                let buyer = self.redis.keys().buyer_of(sale, &key);
                let Some(buyer) = buyer.and_then(|text| BuyerId::parse(text).ok()) else {
                    continue;
                };
                let fields: Vec<(String, i64)> =
                    redis::cmd("HGETALL").arg(&key).query_async(&mut manager).await?;
                let counted = fields.iter().filter(|(field, _)| field != "#version");
                pieces.push((buyer, counted.map(|(_, value)| value).sum()));
            }
            cursor = next;
            if cursor == 0 {
                return Ok(pieces);
            }
        }
    }
}

#[async_trait]
impl MemoryReader for RedisMemoryReader {
    async fn remembered(&self, sale: SaleId) -> Result<Vec<PiecesOfBuyer>, PortError> {
        self.redis.call("the shared memory", self.standings(sale)).await
    }
}
