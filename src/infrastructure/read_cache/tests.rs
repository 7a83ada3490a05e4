//! Both tiers, with a fake of the one that instances share.

#![cfg(test)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::join_all;
use prometheus::Registry;
use tokio::sync::Notify;

use super::{ReadCacheMetrics, TwoTierCache};
use crate::application::ports::{
    CacheKey, CacheKind, CacheScope, CachedPage, LoadPage, PortError, ReadCache, SharedGeneration,
    SharedLookup, SharedPages,
};
use crate::config::{CacheConfig, CacheInvalidation};
use crate::domain::ids::{BuyerId, SaleId};
use crate::testing::builders::unavailable;

const LONG: Duration = Duration::from_hours(1);

/// A read that waits in the middle.
#[derive(Default)]
struct SlowRead {
    begun: Notify,
    goes_on: Notify,
}

impl SlowRead {
    fn finds<'a>(&'a self, number: &'static str) -> LoadPage<'a> {
        Box::pin(async move {
            self.begun.notify_one();
            self.goes_on.notified().await;
            Ok(Some(page(number)))
        })
    }
}

/// What instances share. It loses what it is told to lose.
#[derive(Default)]
struct FakeSharedPages {
    pages: Mutex<HashMap<CacheKey, (CachedPage, Instant, SharedGeneration)>>,
    generations: Mutex<HashMap<CacheScope, u64>>,
    is_away: AtomicBool,
}

impl FakeSharedPages {
    fn of(&self, scope: &CacheScope) -> Result<SharedGeneration, PortError> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err(unavailable());
        }
        let generation = self.generations.lock().unwrap().get(scope).copied().unwrap_or(0);
        Ok(SharedGeneration(generation.to_string().into()))
    }
}

#[async_trait]
impl SharedPages for FakeSharedPages {
    async fn find(&self, key: &CacheKey) -> Result<SharedLookup, PortError> {
        let generation = self.of(&key.scope)?;
        let pages = self.pages.lock().unwrap();
        let now = Instant::now();
        let found = pages
            .get(key)
            .filter(|(_, expires_at, stored_in)| *stored_in == generation && *expires_at > now);
        let found = found.map(|(page, expires_at, _)| (page.clone(), *expires_at - now));
        Ok(SharedLookup { found, generation })
    }

    async fn store(
        &self,
        key: &CacheKey,
        page: &CachedPage,
        (lives, generation): (Duration, &SharedGeneration),
    ) -> Result<(), PortError> {
        if self.of(&key.scope)? == *generation {
            let stored = (page.clone(), Instant::now() + lives, generation.clone());
            self.pages.lock().unwrap().insert(key.clone(), stored);
        }
        Ok(())
    }

    async fn generation(&self, scope: &CacheScope) -> Result<SharedGeneration, PortError> {
        self.of(scope)
    }

    async fn forget(&self, scopes: &[CacheScope]) -> Result<(), PortError> {
        for scope in scopes {
            self.of(scope)?;
            *self.generations.lock().unwrap().entry(scope.clone()).or_default() += 1;
        }
        Ok(())
    }
}

/// Instances that share pages, and what they read.
struct World {
    shared: Arc<FakeSharedPages>,
    config: CacheConfig,
    reads: AtomicU64,
}

impl World {
    fn with(invalidation: CacheInvalidation) -> Self {
        let config = CacheConfig {
            enabled: true,
            sales_ttl: LONG,
            items_ttl: LONG,
            purchases_ttl: LONG,
            invalidation,
            max_bytes: 1 << 20,
        };
        Self { shared: Arc::default(), config, reads: AtomicU64::new(0) }
    }

    fn instance(&self) -> TwoTierCache {
        let metrics = ReadCacheMetrics::register(&Registry::new()).unwrap();
        TwoTierCache::new(self.config.clone(), Arc::<FakeSharedPages>::clone(&self.shared), metrics)
    }

    /// Reads the number of this read.
    fn load(&self) -> LoadPage<'_> {
        Box::pin(async {
            tokio::task::yield_now().await;
            let read = self.reads.fetch_add(1, Ordering::Relaxed) + 1;
            Ok(Some(page(&read.to_string())))
        })
    }

    async fn asks(&self, cache: &TwoTierCache, key: CacheKey) -> u64 {
        number(&cache.page(key, self.load()).await.unwrap().unwrap())
    }
}

fn page(body: &str) -> CachedPage {
    CachedPage { body: body.to_owned().into(), tag: "".into(), next: None }
}

fn number(page: &CachedPage) -> u64 {
    std::str::from_utf8(&page.body).unwrap().trim_end_matches('-').parse().unwrap()
}

fn sale() -> SaleId {
    SaleId::new(7).unwrap()
}

fn ann() -> BuyerId {
    BuyerId::parse("ann").unwrap()
}

fn items(request: &str) -> CacheKey {
    let scope = CacheScope::Sale(sale());
    CacheKey { kind: CacheKind::Items, scope, generation: 1, request: request.into() }
}

fn purchases() -> CacheKey {
    let scope = CacheScope::Buyer(ann());
    CacheKey { kind: CacheKind::Purchases, scope, generation: 0, request: "all".into() }
}

#[tokio::test]
async fn a_page_is_read_once_for_all_who_ask_at_once_and_afterwards_at_every_instance() {
    let world = World::with(CacheInvalidation::Immediate);
    let (one, other) = (world.instance(), world.instance());

    let asked = join_all((0..50).map(|_| world.asks(&one, items("a")))).await;

    assert!(asked.iter().all(|read| *read == 1), "{asked:?}");
    assert_eq!(world.asks(&one, items("a")).await, 1);
    assert_eq!(world.asks(&other, items("a")).await, 1);
    assert_eq!(world.asks(&other, items("b")).await, 2);
    assert_eq!(number(&one.peek(&items("a")).unwrap()), 1);
    assert!(one.peek(&items("c")).is_none());
}

#[tokio::test]
async fn a_failure_and_what_does_not_exist_are_not_cached() {
    let world = World::with(CacheInvalidation::Immediate);
    let cache = world.instance();
    let fails = || -> LoadPage<'_> { Box::pin(async { Err(unavailable()) }) };
    let finds_nothing = || -> LoadPage<'_> { Box::pin(async { Ok(None) }) };

    let failed = join_all((0..5).map(|_| cache.page(items("a"), fails()))).await;
    let nothing = join_all((0..5).map(|_| cache.page(items("a"), finds_nothing()))).await;

    assert!(failed.iter().all(Result::is_err));
    assert!(nothing.into_iter().all(|found| found.unwrap().is_none()));
    assert_eq!(world.asks(&cache, items("a")).await, 1);
}

#[tokio::test]
async fn a_page_lives_no_longer_than_its_time_from_the_begin_of_its_read_in_both_tiers() {
    const TTL: Duration = Duration::from_millis(200);
    let mut world = World::with(CacheInvalidation::Immediate);
    world.config.items_ttl = TTL;
    let (one, other) = (world.instance(), world.instance());
    for _ in 0..3 {
        let first = world.asks(&one, items("a")).await;
        // Its read began before this.
        let read = Instant::now();
        for cache in [&other, &one] {
            loop {
                let asked = Instant::now();
                if world.asks(cache, items("a")).await != first {
                    break;
                }
                assert!(asked <= read + TTL, "a page outlives its time");
                tokio::task::yield_now().await;
            }
        }
    }
}

#[tokio::test]
async fn a_read_that_began_before_a_purchase_is_not_shared_with_who_comes_after_it() {
    let world = World::with(CacheInvalidation::Immediate);
    let (one, other) = (world.instance(), world.instance());
    for key in [purchases(), items("a")] {
        let slow = SlowRead::default();
        let old = one.page(key.clone(), slow.finds("0"));
        let (old, ()) = tokio::join!(old, async {
            slow.begun.notified().await;
            one.purchased(&ann(), sale()).await;
            let asked = tokio::time::timeout(Duration::from_mins(1), world.asks(&one, key.clone()));
            assert!(asked.await.expect("it waits for the read before the purchase") > 0);
            slow.goes_on.notify_one();
        });

        assert_eq!(number(&old.unwrap().unwrap()), 0);
        assert!(world.asks(&one, key.clone()).await > 0);
        assert!(world.asks(&other, key).await > 0, "an old page was stored for others");
    }
}

#[tokio::test]
async fn a_buyer_sees_a_purchase_of_another_instance_without_its_message() {
    for invalidation in
        [CacheInvalidation::Immediate, CacheInvalidation::Lazy, CacheInvalidation::Ttl]
    {
        let world = World::with(invalidation);
        let (one, other) = (world.instance(), world.instance());
        let before = world.asks(&other, purchases()).await;
        assert_eq!(world.asks(&other, purchases()).await, before);

        one.purchased(&ann(), sale()).await;

        assert!(world.asks(&other, purchases()).await > before, "{invalidation:?}");
    }
}

#[tokio::test]
async fn pages_of_a_sale_are_forgotten_by_a_purchase_unless_they_only_expire() {
    for (invalidation, forgotten) in
        [(CacheInvalidation::Immediate, true), (CacheInvalidation::Ttl, false)]
    {
        let world = World::with(invalidation);
        let cache = world.instance();
        let before = world.asks(&cache, items("a")).await;

        cache.purchased(&ann(), sale()).await;

        assert_eq!(world.asks(&cache, items("a")).await > before, forgotten, "{invalidation:?}");
    }
}

#[tokio::test]
async fn a_lazy_page_is_read_again_by_one_while_others_get_the_outdated_one() {
    let world = World::with(CacheInvalidation::Lazy);
    let cache = world.instance();
    let before = world.asks(&cache, items("a")).await;
    cache.purchased(&ann(), sale()).await;
    let slow = SlowRead::default();
    let renewed = slow.finds("99");

    let (renewed, ()) = tokio::join!(cache.page(items("a"), renewed), async {
        slow.begun.notified().await;
        assert_eq!(world.asks(&cache, items("a")).await, before);
        slow.goes_on.notify_one();
    });

    assert_eq!(number(&renewed.unwrap().unwrap()), 99);
    assert_eq!(world.asks(&cache, items("a")).await, 99);
    assert_eq!(world.reads.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn in_a_rush_a_lazy_page_is_read_by_one_at_a_time_and_the_others_do_not_wait() {
    let world = World::with(CacheInvalidation::Lazy);
    let cache = world.instance();
    let before = world.asks(&cache, items("a")).await;
    // Several fall before the read and within it, here and elsewhere.
    let sells = async || {
        cache.purchased(&ann(), sale()).await;
        cache.outdate(&CacheScope::Sale(sale()));
    };
    sells().await;
    let slow = SlowRead::default();
    let renewed = slow.finds("99");

    let (renewed, ()) = tokio::join!(cache.page(items("a"), renewed), async {
        slow.begun.notified().await;
        for _ in 0..3 {
            sells().await;
            assert_eq!(world.asks(&cache, items("a")).await, before);
        }
        slow.goes_on.notify_one();
    });

    assert_eq!(number(&renewed.unwrap().unwrap()), 99);
    assert_eq!(world.reads.load(Ordering::Relaxed), 1);
    // What was sold within that read is read by the next one.
    assert_eq!(world.asks(&cache, items("a")).await, 2);
}

#[tokio::test]
async fn a_lazy_page_that_nobody_has_is_read_once_for_all_who_ask_in_a_rush() {
    let world = World::with(CacheInvalidation::Lazy);
    let cache = world.instance();
    let slow = SlowRead::default();
    let first = slow.finds("99");

    let (first, other) = tokio::join!(cache.page(items("a"), first), async {
        slow.begun.notified().await;
        cache.purchased(&ann(), sale()).await;
        slow.goes_on.notify_one();
        world.asks(&cache, items("a")).await
    });

    assert_eq!((number(&first.unwrap().unwrap()), other), (99, 99));
}

#[tokio::test]
async fn no_reader_gets_a_lazy_page_that_an_operator_has_invalidated() {
    let world = World::with(CacheInvalidation::Lazy);
    let cache = world.instance();
    world.asks(&cache, items("a")).await;
    cache.purchased(&ann(), sale()).await;
    let slow = SlowRead::default();
    let outdated = slow.finds("99");

    let (outdated, ()) = tokio::join!(cache.page(items("a"), outdated), async {
        slow.begun.notified().await;
        cache.forget(&CacheScope::Sale(sale()));
        world.shared.forget(&[CacheScope::Sale(sale())]).await.unwrap();
        assert_eq!(world.asks(&cache, items("a")).await, 2);
        slow.goes_on.notify_one();
    });

    assert_eq!(number(&outdated.unwrap().unwrap()), 99);
    assert_eq!(world.asks(&cache, items("a")).await, 2);
}

#[tokio::test]
async fn without_the_shared_tier_the_own_one_goes_on() {
    let world = World::with(CacheInvalidation::Immediate);
    world.shared.is_away.store(true, Ordering::Relaxed);
    let cache = world.instance();

    for key in [items("a"), purchases()] {
        let first = world.asks(&cache, key.clone()).await;
        assert_eq!(world.asks(&cache, key.clone()).await, first);
        cache.purchased(&ann(), sale()).await;
        assert!(world.asks(&cache, key).await > first);
    }
}

#[tokio::test]
async fn what_others_say_is_forgotten_and_so_is_everything() {
    let world = World::with(CacheInvalidation::Immediate);
    world.shared.is_away.store(true, Ordering::Relaxed);
    let cache = world.instance();
    let first = world.asks(&cache, items("a")).await;

    cache.forget(&CacheScope::Sale(sale()));
    let second = world.asks(&cache, items("a")).await;
    cache.forget_all();

    assert!(first < second && second < world.asks(&cache, items("a")).await);
}

#[tokio::test]
async fn pages_take_a_bounded_number_of_bytes() {
    let world = World::with(CacheInvalidation::Immediate);
    let cache = world.instance();
    for number in 0..500 {
        let body = format!("{number}{}", "-".repeat(10_000));
        let load: LoadPage<'_> = Box::pin(async { Ok(Some(page(&body))) });
        cache.page(items(&number.to_string()), load).await.unwrap();
    }

    let bytes = cache.settled_bytes().await;

    assert!(bytes > 0 && bytes <= world.config.max_bytes, "{bytes}");
}
