//! Pages of the read cache that all instances share.
//!
//! A page is stored with the generation of its scope, and found only in that generation: a page that was read before a change and
//! stored after it is never returned. Generations are random, and outlive every page of the one before them.

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::Script;
use uuid::Uuid;

use super::connection::Redis;
use super::invalidations::{self, ORIGIN};
use super::script::script;
use crate::application::ports::{
    CacheKey, CacheScope, CachedPage, PortError, SharedGeneration, SharedLookup, SharedPages,
};

static FIND: LazyLock<Script> = script!("read_find");
static STORE: LazyLock<Script> = script!("read_store");

const WHAT: &str = "the read cache";
/// A read has ended this long after it began: what it read is not stored any more.
const LONGEST_READ: Duration = Duration::from_mins(5);
/// The generation of a scope that has none.
const FIRST: &str = "0";

/// What the scripts return.
type Found = (String, Option<Vec<u8>>, Option<u64>);

/// Pages in Redis.
pub(crate) struct RedisReadPages {
    redis: Redis,
    instance: String,
    /// A generation lives this long.
    keep: Duration,
}

impl RedisReadPages {
    /// For pages that live for at most `longest_ttl`, at the instance with this name.
    pub(crate) fn new(redis: Redis, instance: String, longest_ttl: Duration) -> Self {
        Self { redis, instance, keep: longest_ttl + LONGEST_READ }
    }

    /// For operators, who hold no pages: every instance obeys what they say.
    pub(crate) fn of_operators(redis: Redis, longest_ttl: Duration) -> Self {
        Self::new(redis, ORIGIN.to_owned(), longest_ttl)
    }

    async fn begin_generation(&self, scope: &CacheScope) -> Result<(), PortError> {
        let mut set = redis::cmd("SET");
        set.arg(self.redis.keys().read_generation(scope));
        set.arg(Uuid::now_v7().simple().to_string()).arg("PX").arg(ms(self.keep));
        let mut manager = self.redis.manager();
        self.redis.call(WHAT, set.query_async::<()>(&mut manager)).await
    }
}

#[async_trait]
impl SharedPages for RedisReadPages {
    async fn find(&self, key: &CacheKey) -> Result<SharedLookup, PortError> {
        let keys = self.redis.keys();
        let mut call = FIND.prepare_invoke();
        call.key(keys.read_page(key)).key(keys.read_generation(&key.scope));
        let (generation, page, remaining): Found = self.redis.invoke(WHAT, &call).await?;
        let found = page.and_then(parse).zip(remaining.map(Duration::from_millis));
        Ok(SharedLookup { found, generation: SharedGeneration(generation.into()) })
    }

    async fn store(
        &self,
        key: &CacheKey,
        page: &CachedPage,
        (lives, generation): (Duration, &SharedGeneration),
    ) -> Result<(), PortError> {
        if lives < Duration::from_millis(1) {
            return Ok(());
        }
        let keys = self.redis.keys();
        let mut call = STORE.prepare_invoke();
        call.key(keys.read_page(key)).key(keys.read_generation(&key.scope));
        call.arg(&*generation.0).arg(ms(lives)).arg(format(page));
        self.redis.invoke::<i64>(WHAT, &call).await?;
        Ok(())
    }

    async fn generation(&self, scope: &CacheScope) -> Result<SharedGeneration, PortError> {
        let mut get = redis::cmd("GET");
        get.arg(self.redis.keys().read_generation(scope));
        let mut manager = self.redis.manager();
        let found = self.redis.call(WHAT, get.query_async::<Option<String>>(&mut manager)).await?;
        Ok(SharedGeneration(found.as_deref().unwrap_or(FIRST).into()))
    }

    async fn forget(&self, scopes: &[CacheScope]) -> Result<(), PortError> {
        self.redis.look_up_master().await;
        // Together: they share one write to the connection. The message comes after the generations, which its receivers read.
        let begun = scopes.iter().map(|scope| self.begin_generation(scope));
        futures_util::future::try_join_all(begun).await?;
        invalidations::publish(&self.redis, &invalidations::of_scopes(&self.instance, scopes)).await
    }
}

/// The page as one text: tag, next page, body; each of the first two on a line.
fn format(page: &CachedPage) -> Vec<u8> {
    let head = format!("{}\n{}\n", page.tag, page.next.as_deref().unwrap_or_default());
    [head.as_bytes(), &page.body].concat()
}

/// `None` for what another release has written.
fn parse(text: Vec<u8>) -> Option<CachedPage> {
    let text = Bytes::from(text);
    let line = |from: usize| {
        let length = text.get(from..)?.iter().position(|byte| *byte == b'\n')?;
        Some((std::str::from_utf8(text.get(from..from + length)?).ok()?, from + length + 1))
    };
    let (tag, after_tag) = line(0)?;
    let (next, after_next) = line(after_tag)?;
    let next = Some(next).filter(|next| !next.is_empty()).map(Box::from);
    Some(CachedPage { tag: tag.into(), next, body: text.slice(after_next..) })
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::CacheKind;
    use crate::domain::ids::{BuyerId, SaleId};
    use crate::testing::servers::RedisWorld;

    const TTL: Duration = Duration::from_mins(1);

    fn pages() -> RedisReadPages {
        RedisReadPages::new(RedisWorld::open().connect().0, "1".to_owned(), TTL)
    }

    fn key() -> CacheKey {
        let scope = CacheScope::Sale(SaleId::new(7).unwrap());
        CacheKey { kind: CacheKind::Items, scope, generation: 1, request: "v2:limit=5".into() }
    }

    fn page(body: &'static str) -> CachedPage {
        let next = Some("/v2/sales?limit=5&cursor=x".into());
        CachedPage { body: Bytes::from_static(body.as_bytes()), tag: "W/\"t\"".into(), next }
    }

    #[test]
    fn a_page_is_parsed_from_its_text() {
        let without = CachedPage { next: None, tag: "".into(), ..page("a\n\nb") };

        assert_eq!(parse(format(&page("{}\n"))), Some(page("{}\n")));
        assert_eq!(parse(format(&without)), Some(without));
        assert_eq!(parse(b"something else".to_vec()), None);
    }

    #[tokio::test]
    async fn a_page_is_found_while_it_lives() {
        let pages = pages();
        let before = pages.find(&key()).await.unwrap();
        assert!(before.found.is_none());

        pages.store(&key(), &page("{}"), (TTL, &before.generation)).await.unwrap();

        let (found, lives) = pages.find(&key()).await.unwrap().found.unwrap();
        assert_eq!(found, page("{}"));
        assert!(lives <= TTL && lives > Duration::ZERO);
    }

    #[tokio::test]
    async fn a_page_that_was_read_before_a_change_is_neither_found_nor_stored_after_it() {
        let pages = pages();
        let before = pages.find(&key()).await.unwrap().generation;
        pages.store(&key(), &page("old"), (TTL, &before)).await.unwrap();

        pages.forget(&[key().scope]).await.unwrap();
        let after = pages.find(&key()).await.unwrap();
        pages.store(&key(), &page("old"), (TTL, &before)).await.unwrap();

        assert!(after.found.is_none() && after.generation != before);
        assert!(pages.find(&key()).await.unwrap().found.is_none());
        assert_eq!(pages.generation(&key().scope).await.unwrap(), after.generation);
        pages.store(&key(), &page("new"), (TTL, &after.generation)).await.unwrap();
        assert_eq!(pages.find(&key()).await.unwrap().found.unwrap().0, page("new"));
    }

    #[tokio::test]
    async fn a_change_leaves_other_scopes_alone() {
        let pages = pages();
        let before = pages.find(&key()).await.unwrap().generation;
        pages.store(&key(), &page("{}"), (TTL, &before)).await.unwrap();

        let buyer = CacheScope::Buyer(BuyerId::parse("a{b}c").unwrap());
        pages.forget(&[CacheScope::Sales, buyer]).await.unwrap();

        assert!(pages.find(&key()).await.unwrap().found.is_some());
    }
}
