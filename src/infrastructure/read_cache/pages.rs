//! Pages in this process, over those that all instances share.

use std::collections::{HashMap, hash_map};
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use moka::Expiry;
use moka::future::Cache;

use super::generations::{Generation, Generations};
use super::metrics::{Found, ReadCacheMetrics};
use crate::application::ports::{
    BoxError, CacheKey, CacheKind, CacheScope, CachedPage, LoadPage, PortError, ReadCache,
    SharedGeneration, SharedPages,
};
use crate::config::{CacheConfig, CacheInvalidation};
use crate::domain::ids::{BuyerId, SaleId};

/// A purchase waits this long for Redis to forget the buyer's pages. Without Redis it does not wait.
const FORGET_TIMEOUT: Duration = Duration::from_millis(100);
/// Estimated bytes of an entry besides its body, its tag and its key.
const ENTRY_BYTES: usize = 256;

const WHAT: &str = "the read";

/// The read cache of this instance.
pub(crate) struct TwoTierCache {
    pages: Cache<LocalKey, Arc<Entry>>,
    shared: Arc<dyn SharedPages>,
    generations: Generations,
    /// Pages that are being read while others still get the outdated ones, and the generation in which each read began.
    renewed: Mutex<HashMap<CacheKey, u64>>,
    config: CacheConfig,
    metrics: ReadCacheMetrics,
}

/// A key in a generation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct LocalKey {
    key: CacheKey,
    generation: u64,
    /// Of a buyer's pages the generation in Redis, which another instance may have begun.
    shared: Option<SharedGeneration>,
}

/// Stands for the generation of the latest page, whichever that is.
const LATEST: u64 = u64::MAX;

#[derive(Debug)]
struct Entry {
    page: Arc<CachedPage>,
    /// The generation in which it was read.
    generation: u64,
    expires_at: Instant,
    /// Whether it was read for the request that stored it.
    was_read: bool,
}

/// Why there is no page.
#[derive(Debug)]
enum NoPage {
    Missing,
    Failed(PortError),
}

/// Each page lives as long as what it was made of may be shown.
struct Lives;

impl Expiry<LocalKey, Arc<Entry>> for Lives {
    fn expire_after_create(
        &self,
        _key: &LocalKey,
        entry: &Arc<Entry>,
        created_at: Instant,
    ) -> Option<Duration> {
        Some(entry.expires_at.saturating_duration_since(created_at))
    }
}

impl TwoTierCache {
    pub(crate) fn new(
        config: CacheConfig,
        shared: Arc<dyn SharedPages>,
        metrics: ReadCacheMetrics,
    ) -> Self {
        let pages = Cache::builder()
            .max_capacity(config.max_bytes)
            .weigher(|key: &LocalKey, entry: &Arc<Entry>| {
                let CachedPage { body, tag, next } = &*entry.page;
                let next = next.as_ref().map_or(0, |next| next.len());
                let bytes = ENTRY_BYTES + key.key.request.len() + body.len() + tag.len() + next;
                u32::try_from(bytes).unwrap_or(u32::MAX)
            })
            .expire_after(Lives)
            .build();
        let generations = Generations::of_pages_that_live(config.longest_ttl());
        Self { pages, shared, generations, renewed: Mutex::default(), config, metrics }
    }

    /// Another instance has sold something.
    pub(crate) fn outdate(&self, scope: &CacheScope) {
        self.generations.outdate(scope);
    }

    /// Forgets what an operator says.
    pub(crate) fn forget(&self, scope: &CacheScope) {
        self.generations.forget(scope);
    }

    /// Forgets everything in this process: an operator says so, or messages may have been lost.
    pub(crate) fn forget_all(&self) {
        self.generations.forget_all();
        self.pages.invalidate_all();
    }

    /// Updates the gauges.
    pub(crate) fn observe(&self) {
        self.metrics.holds(self.pages.entry_count(), self.pages.weighted_size());
    }

    fn ttl(&self, kind: CacheKind) -> Duration {
        match kind {
            CacheKind::Sales => self.config.sales_ttl,
            CacheKind::Items => self.config.items_ttl,
            CacheKind::Purchases => self.config.purchases_ttl,
        }
    }

    /// The bytes of all pages, after those beyond the limit have made room.
    #[cfg(test)]
    pub(super) async fn settled_bytes(&self) -> u64 {
        self.pages.run_pending_tasks().await;
        self.pages.weighted_size()
    }

    /// The key in the generation of now.
    async fn local(&self, key: &CacheKey, generation: Generation) -> LocalKey {
        let shared = match key.kind {
            // While Redis is away, what other instances sell is seen when the page expires.
            CacheKind::Purchases => self.shared.generation(&key.scope).await.ok(),
            CacheKind::Sales | CacheKind::Items => None,
        };
        LocalKey { key: key.clone(), generation: generation.current, shared }
    }

    fn entry(entry: &Entry) -> Option<Arc<CachedPage>> {
        (entry.expires_at > Instant::now()).then(|| Arc::clone(&entry.page))
    }

    /// Whether readers of this page get an outdated one while it is read again. A buyer waits for the page that has the purchase.
    fn is_lazy(&self, key: &CacheKey) -> bool {
        self.config.invalidation == CacheInvalidation::Lazy && key.kind != CacheKind::Purchases
    }

    /// The generation in which another request has begun to read the page, if what that finds may be shown.
    fn being_renewed(&self, key: &CacheKey, generation: Generation) -> Option<u64> {
        let began_in = self.renewed().get(key).copied();
        began_in.filter(|began_in| *began_in >= generation.oldest)
    }

    /// The latest page, if it may still be shown. In a rush several generations begin within one read.
    async fn outdated(&self, key: &CacheKey, generation: Generation) -> Option<Arc<CachedPage>> {
        let latest = LocalKey { key: key.clone(), generation: LATEST, shared: None };
        let entry = self.pages.get(&latest).await?;
        Self::entry(&entry).filter(|_| entry.generation >= generation.oldest)
    }

    /// Finds the page in Redis, or reads it and stores it there.
    async fn fill(&self, key: &CacheKey, load: LoadPage<'_>) -> Result<Arc<Entry>, NoPage> {
        let ttl = self.ttl(key.kind);
        let (asked_at, generation) = (Instant::now(), self.generations.of(&key.scope));
        let lookup = self.shared.find(key).await.ok();
        if let Some((page, lives)) = lookup.as_ref().and_then(|lookup| lookup.found.clone()) {
            let expires_at = asked_at + lives.min(ttl);
            let (page, generation) = (Arc::new(page), generation.current);
            return Ok(Arc::new(Entry { page, generation, expires_at, was_read: false }));
        }
        let began_at = Instant::now();
        let page = match load.await {
            Ok(Some(page)) => page,
            Ok(None) => return Err(NoPage::Missing),
            Err(error) => return Err(NoPage::Failed(error)),
        };
        let lives = ttl.saturating_sub(began_at.elapsed());
        if let Some(lookup) = lookup
            && !lives.is_zero()
            && self.generations.of(&key.scope) == generation
        {
            // A page that is not stored is read again.
            let _ = self.shared.store(key, &page, (lives, &lookup.generation)).await;
        }
        let (page, generation) = (Arc::new(page), generation.current);
        Ok(Arc::new(Entry { page, generation, expires_at: began_at + ttl, was_read: true }))
    }

    fn renewed(&self) -> MutexGuard<'_, HashMap<CacheKey, u64>> {
        self.renewed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks a page as being read, until it is dropped. One request at a time has that of a page.
struct Renewal<'a> {
    cache: &'a TwoTierCache,
    key: &'a CacheKey,
}

impl<'a> Renewal<'a> {
    fn begin(cache: &'a TwoTierCache, local: &'a LocalKey) -> Option<Self> {
        let key = &local.key;
        if !cache.is_lazy(key) {
            return None;
        }
        match cache.renewed().entry(key.clone()) {
            hash_map::Entry::Occupied(_) => None,
            hash_map::Entry::Vacant(none) => {
                none.insert(local.generation);
                Some(Self { cache, key })
            }
        }
    }

    /// Others get this page from now on, while it is read the next time.
    async fn end(self, entry: &Arc<Entry>) {
        let latest = LocalKey { key: self.key.clone(), generation: LATEST, shared: None };
        self.cache.pages.insert(latest, Arc::clone(entry)).await;
    }
}

impl Drop for Renewal<'_> {
    fn drop(&mut self) {
        self.cache.renewed().remove(self.key);
    }
}

#[async_trait]
impl ReadCache for TwoTierCache {
    fn peek(&self, key: &CacheKey) -> Option<Arc<CachedPage>> {
        let generation = self.generations.of(&key.scope).current;
        let local = LocalKey { key: key.clone(), generation, shared: None };
        let found = futures_util::FutureExt::now_or_never(self.pages.get(&local)).flatten();
        let page = Self::entry(&*found?)?;
        self.metrics.asked(key.kind, Found::InProcess);
        Some(page)
    }

    async fn page<'a>(
        &self,
        key: CacheKey,
        load: LoadPage<'a>,
    ) -> Result<Option<Arc<CachedPage>>, PortError> {
        let generation = self.generations.of(&key.scope);
        let mut local = self.local(&key, generation).await;
        if let Some(entry) = self.pages.get(&local).await
            && let Some(page) = Self::entry(&entry)
        {
            self.metrics.asked(key.kind, Found::InProcess);
            return Ok(Some(page));
        }
        if self.is_lazy(&key)
            && let Some(began_in) = self.being_renewed(&key, generation)
        {
            if let Some(page) = self.outdated(&key, generation).await {
                self.metrics.asked(key.kind, Found::InProcess);
                return Ok(Some(page));
            }
            // There is none: it waits for that read.
            local.generation = began_in;
        }
        let renewal = Renewal::begin(self, &local);
        let has_run = AtomicBool::new(false);
        let fill = async {
            has_run.store(true, Ordering::Relaxed);
            self.fill(&key, load).await
        };
        let filled = self.pages.entry(local.clone()).or_try_insert_with(fill).await;
        let has_run = has_run.load(Ordering::Relaxed);
        match filled {
            Ok(filled) => {
                let entry = filled.into_value();
                if let Some(renewal) = renewal {
                    renewal.end(&entry).await;
                }
                self.metrics.asked(
                    key.kind,
                    match (has_run, entry.was_read) {
                        (true, true) => Found::Nowhere,
                        (true, false) => Found::InRedis,
                        (false, _) => Found::InProcess,
                    },
                );
                Ok(Some(Arc::clone(&entry.page)))
            }
            Err(none) => {
                self.metrics.asked(key.kind, Found::Nowhere);
                failed(none)
            }
        }
    }

    async fn purchased(&self, buyer: &BuyerId, sale: SaleId) {
        let mut scopes = vec![CacheScope::Buyer(buyer.clone())];
        if self.config.invalidation != CacheInvalidation::Ttl {
            scopes.push(CacheScope::Sale(sale));
        }
        for scope in &scopes {
            self.generations.outdate(scope);
        }
        // Before the buyer knows of the purchase: another instance, asked next, finds the buyer's pages forgotten.
        let _ = tokio::time::timeout(FORGET_TIMEOUT, self.shared.forget(&scopes)).await;
    }
}

/// The error of a read that several requests may share.
fn failed(none: Arc<NoPage>) -> Result<Option<Arc<CachedPage>>, PortError> {
    match Arc::try_unwrap(none) {
        Ok(NoPage::Missing) => Ok(None),
        Ok(NoPage::Failed(error)) => Err(error),
        Err(shared) => match &*shared {
            NoPage::Missing => Ok(None),
            NoPage::Failed(error) => {
                let source: BoxError = format!("a concurrent read of it failed: {error}").into();
                Err(PortError::Unavailable { what: WHAT, source })
            }
        },
    }
}
