//! Deletes pages of the read cache that an operator names, and has all instances forget theirs.

use std::time::Duration;

use redis::RedisError;

use super::connection::Redis;
use super::invalidations::{self, ORIGIN};
use super::link::{BackgroundConnection, Scan};
use super::read_pages::RedisReadPages;
use crate::application::ports::{CacheScope, PortError, SharedPages};

const WHAT: &str = "the read cache";
/// Instances have a message this long after it was sent: from then on they store no page that they read before it.
const HEARD: Duration = Duration::from_millis(50);

/// Which pages are deleted.
pub(crate) type IsWanted<'a> = &'a (dyn Fn(&str) -> bool + Send + Sync);

/// Sweeps the read cache.
pub(crate) struct RedisReadSweep {
    redis: Redis,
    pages: RedisReadPages,
}

impl RedisReadSweep {
    /// For pages that live for at most `longest_ttl`.
    pub(crate) fn new(redis: Redis, longest_ttl: Duration) -> Self {
        let pages = RedisReadPages::of_operators(redis.clone(), longest_ttl);
        Self { redis, pages }
    }

    /// Deletes the pages whose keys are wanted, and returns their number. Before that all instances forget what these scopes, or all
    /// pages if there are none, hold in memory; afterwards again, because they may have fetched what was not deleted yet.
    pub(crate) async fn sweep(
        &self,
        scopes: &[CacheScope],
        is_wanted: IsWanted<'_>,
    ) -> Result<usize, PortError> {
        self.redis.look_up_master().await;
        self.tell(scopes).await?;
        tokio::time::sleep(HEARD).await;
        let deleted = self.delete(is_wanted).await?;
        self.tell(scopes).await?;
        Ok(deleted)
    }

    async fn tell(&self, scopes: &[CacheScope]) -> Result<(), PortError> {
        if scopes.is_empty() {
            return invalidations::publish(&self.redis, &invalidations::of_all(ORIGIN)).await;
        }
        self.pages.forget(scopes).await
    }

    async fn delete(&self, is_wanted: IsWanted<'_>) -> Result<usize, PortError> {
        let mut scan = Scan::new(self.redis.keys().all_read_pages());
        let mut deleted = 0;
        loop {
            let step = async |connection: &mut BackgroundConnection| {
                self.step(connection, &mut scan, is_wanted).await
            };
            match self.redis.call_pooled(WHAT, step).await? {
                Some(count) => deleted += count,
                None => return Ok(deleted),
            }
        }
    }

    /// How many pages the next step of the scan has deleted; `None` at its end.
    async fn step(
        &self,
        connection: &mut BackgroundConnection,
        scan: &mut Scan,
        is_wanted: IsWanted<'_>,
    ) -> Result<Option<usize>, RedisError> {
        let Some(found) = scan.next(connection).await? else {
            return Ok(None);
        };
        let keys = self.redis.keys();
        let is_wanted = |key: &&String| keys.text_of_page(key).is_some_and(is_wanted);
        let mut deleted = 0;
        for key in found.iter().filter(is_wanted) {
            deleted += redis::cmd("DEL").arg(key).query_async::<usize>(connection).await?;
        }
        Ok(Some(deleted))
    }
}
