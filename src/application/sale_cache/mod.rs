//! Sale cache: what this instance knows of sales, in memory, so that most requests of a sale need no I/O.
//!
//! It applies the instance's own commits at once, events of other instances within milliseconds, and polls PostgreSQL for
//! generations. It may refuse a request only while its last reading of the sale is younger than [`FRESH_FOR`]; afterwards
//! PostgreSQL decides. An unknown sale is looked up before it is refused.
//!
//! What requests ask for is in memory, whatever the number of sales: each poll also reads the sales that were used lately,
//! and items are loaded when they are needed (`items`). Beyond its bounds it forgets what was not used for the longest.

mod cached_sale;
mod cached_sales;
mod item_memory;
mod item_tests;
mod items;
mod not_found;
mod sold_out;
mod tests;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use cached_sale::{CachedSale, FRESH_FOR};

use super::history::History;
#[cfg(test)]
use super::ports::StockFacts;
use super::ports::{Clock, ItemReader, PortError, SaleStore};
use super::single_flight::{LastFlight, SingleFlight};
use crate::domain::ids::SaleId;
use crate::domain::sale::{Sale, SaleState};

use cached_sale::micros;
use cached_sales::CachedSales;
use item_memory::ItemMemory;
use not_found::NotFoundCache;

/// A sale that no request has asked for within this time is idle: polls do not read it beside the live ones, and its items make
/// room for those of other sales.
const IDLE_AFTER: Duration = Duration::from_secs(10);

/// The sale of a request that names none.
#[derive(Debug)]
pub enum ActiveSale {
    /// This one.
    Found(Arc<CachedSale>),
    /// Several sales are open, none of them scheduled.
    Several,
    /// No sale is open.
    None,
}

/// The sales that this instance knows.
pub struct SaleCache {
    sales: Arc<dyn SaleStore>,
    items: Arc<dyn ItemReader>,
    clock: Arc<dyn Clock>,
    history: Arc<History>,
    cached: CachedSales,
    not_found: NotFoundCache,
    memory: ItemMemory,
    refresh: SingleFlight,
    lookup: SingleFlight,
    read: SingleFlight,
    /// Monotonic time of the last poll, in microseconds: a clock that costs requests nothing.
    polled_at: AtomicU64,
    /// Of the sales and their terms, as the last poll found them.
    fingerprint: AtomicU64,
}

/// The bounds of a [`SaleCache`].
#[derive(Debug, Clone, Copy)]
pub struct SaleCacheLimits {
    /// Maximum number of ids of unknown sales.
    pub not_found: usize,
    /// Maximum number of bytes for the items of sales.
    pub item_bytes: usize,
}

/// How much a [`SaleCache`] has in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaleCacheUsage {
    /// Sales.
    pub sales: usize,
    /// Sales with their items.
    pub catalogues: usize,
    /// Bytes of the items.
    pub item_bytes: usize,
}

impl SaleCache {
    /// An empty cache.
    #[must_use]
    pub fn new(
        sales: Arc<dyn SaleStore>,
        items: Arc<dyn ItemReader>,
        clock: Arc<dyn Clock>,
        limits: SaleCacheLimits,
    ) -> Self {
        Self {
            sales,
            items,
            clock,
            history: Arc::default(),
            cached: CachedSales::default(),
            not_found: NotFoundCache::new(limits.not_found),
            memory: ItemMemory::new(limits.item_bytes),
            refresh: SingleFlight::default(),
            lookup: SingleFlight::default(),
            read: SingleFlight::default(),
            polled_at: AtomicU64::new(2),
            fingerprint: AtomicU64::new(0),
        }
    }

    /// The cache, for a database with this history.
    #[must_use]
    pub fn following(self, history: Arc<History>) -> Self {
        Self { history, ..self }
    }

    /// Reads the live sales from PostgreSQL, and those that requests ask for. A newer generation drops the known sold-out items.
    pub async fn refresh(&self) -> Result<(), PortError> {
        let mut flight = self.refresh.enter().await;
        self.refresh_now(&mut flight).await
    }

    async fn refresh_now(&self, flight: &mut LastFlight) -> Result<(), PortError> {
        let began_at = self.clock.monotonic();
        let read = self.read_live(began_at).await;
        flight.record(began_at, self.clock.monotonic(), &read);
        read
    }

    async fn read_live(&self, began_at: Duration) -> Result<(), PortError> {
        let epoch = self.history.id();
        let live = self.sales.live().await?;
        let ids: HashSet<SaleId> = live.iter().map(|sale| sale.id).collect();
        self.fingerprint.store(fingerprint(&live), Ordering::Relaxed);
        for sale in live {
            self.put(sale, began_at, epoch);
        }
        let used = self.read_used(&ids).await;
        self.polled_at.store(micros(began_at).max(1), Ordering::Relaxed);
        if let Some(reading) = self.clock.database() {
            self.cached.tidy_up(reading, &ids, self.idle_since());
        }
        self.memory.tidy_up(&self.cached);
        used
    }

    /// Reads the sales in use that are not among the `live` ones, which are bounded in number.
    async fn read_used(&self, live: &HashSet<SaleId>) -> Result<(), PortError> {
        let used = self.cached.used_since(self.idle_since());
        let mut used: HashSet<SaleId> = used.iter().map(|cached| cached.sale.id).collect();
        used.retain(|id| !live.contains(id));
        if used.is_empty() {
            return Ok(());
        }
        let (began_at, epoch) = (self.clock.monotonic(), self.history.id());
        let wanted: Vec<SaleId> = used.iter().copied().collect();
        for sale in self.sales.find_all(&wanted).await? {
            used.remove(&sale.id);
            self.put(sale, began_at, epoch);
        }
        // What is left does not exist any more.
        for id in used {
            self.cached.remove(id);
        }
        Ok(())
    }

    /// Stores a sale, unless the history in which it was read has ended since.
    fn put(&self, sale: Sale, read_at: Duration, epoch: i64) -> Arc<CachedSale> {
        let is_current = || self.history.is_still(epoch);
        self.cached.put(sale, read_at, self.clock.database(), is_current)
    }

    /// Forgets everything, because the database has another history. Sales are read again when they are asked for, or by the next poll.
    pub fn forget(&self) {
        self.cached.clear();
        self.not_found.clear();
    }

    /// Another number whenever a poll has found other sales, or other terms of one; the same number at all instances.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint.load(Ordering::Relaxed)
    }

    /// A sale that was last used before this poll is idle.
    fn idle_since(&self) -> u64 {
        let polled_at = self.polled_at.load(Ordering::Relaxed);
        polled_at.saturating_sub(micros(IDLE_AFTER)).max(1)
    }

    /// A sale by its id; looked up in PostgreSQL if it is not in memory.
    pub async fn find(&self, id: SaleId) -> Result<Option<Arc<CachedSale>>, PortError> {
        if let Some(cached) = self.find_kept(id) {
            return Ok(Some(cached));
        }
        let arrived_at = self.clock.monotonic();
        if self.not_found.contains(id, arrived_at) {
            return Ok(None);
        }
        // Boxed: it is rare, and callers that find the sale in memory have no room for it.
        Box::pin(self.find_stored(id, arrived_at)).await
    }

    async fn find_stored(
        &self,
        id: SaleId,
        arrived_at: Duration,
    ) -> Result<Option<Arc<CachedSale>>, PortError> {
        let mut flight = self.lookup.enter().await;
        if let Some(cached) = self.find_kept(id) {
            return Ok(Some(cached));
        }
        if self.not_found.contains(id, self.clock.monotonic()) {
            return Ok(None);
        }
        self.look_up(id, arrived_at, &mut flight).await
    }

    /// A sale in memory, unless it may have been archived since it was read: only ended ones are.
    fn find_kept(&self, id: SaleId) -> Option<Arc<CachedSale>> {
        let cached = self.find_cached(id)?;
        (!self.has_ended(&cached) || self.may_refuse(&cached)).then_some(cached)
    }

    fn has_ended(&self, cached: &CachedSale) -> bool {
        let window = cached.sale.window;
        let reading = self.clock.database();
        reading.is_some_and(|reading| window.state_within(reading) == Some(SaleState::Ended))
    }

    /// Whether a sale was archived, as PostgreSQL has it; for one that has not ended without I/O.
    pub async fn is_archived(&self, id: SaleId) -> Result<bool, PortError> {
        if self.cached.get(id).is_some_and(|cached| !self.has_ended(&cached)) {
            return Ok(false);
        }
        if let Some(archived) = self.not_found.is_archived(id, self.clock.monotonic()) {
            return Ok(archived);
        }
        let archived = self.sales.is_archived(id).await?;
        if archived {
            self.cached.remove(id);
        }
        self.not_found.mark(id, archived, self.clock.monotonic());
        Ok(archived)
    }

    /// A sale as PostgreSQL had it at most `age` ago.
    pub async fn find_recent(
        &self,
        id: SaleId,
        age: Duration,
    ) -> Result<Option<Arc<CachedSale>>, PortError> {
        let arrived_at = self.clock.monotonic();
        let recent = || {
            let cached = self.find_cached(id);
            cached.filter(|cached| cached.is_read_since(arrived_at.saturating_sub(age)))
        };
        if let Some(cached) = recent() {
            return Ok(Some(cached));
        }
        if self.not_found.contains(id, arrived_at) {
            return Ok(None);
        }
        let mut flight = self.read.enter().await;
        if let Some(cached) = recent() {
            return Ok(Some(cached));
        }
        if self.not_found.contains(id, self.clock.monotonic()) {
            return Ok(None);
        }
        self.look_up(id, arrived_at, &mut flight).await
    }

    async fn look_up(
        &self,
        id: SaleId,
        arrived_at: Duration,
        flight: &mut LastFlight,
    ) -> Result<Option<Arc<CachedSale>>, PortError> {
        flight.check_failure_since(arrived_at)?;
        let (began_at, epoch) = (self.clock.monotonic(), self.history.id());
        let found = self.sales.find(id).await;
        flight.record(began_at, self.clock.monotonic(), &found);
        let Some(sale) = found? else {
            self.cached.remove(id);
            self.not_found.insert(id, self.clock.monotonic());
            return Ok(None);
        };
        let cached = self.put(sale, began_at, epoch);
        self.mark_used(&cached);
        Ok(Some(cached))
    }

    /// Reads these sales from PostgreSQL now, as a poll would: they are announced as changed. Those that are not in memory are read
    /// when they are asked for.
    pub async fn read_again(&self, sales: &[SaleId]) -> Result<(), PortError> {
        let (began_at, epoch) = (self.clock.monotonic(), self.history.id());
        for sale in self.sales.find_all(sales).await? {
            if self.has_cached(sale.id) {
                self.put(sale, began_at, epoch);
            }
        }
        Ok(())
    }

    /// Whether a sale is in memory. Asking is no use of it.
    #[must_use]
    pub fn has_cached(&self, id: SaleId) -> bool {
        self.cached.get(id).is_some()
    }

    /// A sale by its id, if it is in memory.
    #[must_use]
    pub fn find_cached(&self, id: SaleId) -> Option<Arc<CachedSale>> {
        let cached = self.cached.get(id)?;
        self.mark_used(&cached);
        Some(cached)
    }

    fn mark_used(&self, cached: &CachedSale) {
        cached.mark_used(self.polled_at.load(Ordering::Relaxed));
    }

    /// The open sales as PostgreSQL had them at most `age` ago, by their number.
    pub async fn open_recent(&self, age: Duration) -> Result<Vec<Arc<CachedSale>>, PortError> {
        let arrived_at = self.clock.monotonic();
        let mut flight = self.refresh.enter().await;
        if !flight.has_succeeded_since(arrived_at.saturating_sub(age)) {
            flight.check_failure_since(arrived_at)?;
            self.refresh_now(&mut flight).await?;
        }
        drop(flight);
        let mut open = self.open();
        open.retain(|cached| cached.is_read_since(arrived_at.saturating_sub(age)));
        open.sort_by_key(|cached| cached.sale.id);
        Ok(open)
    }

    /// The sale of a request that names none: the open scheduled sale, else the only open sale.
    ///
    /// `not` is a sale that PostgreSQL has just found closed.
    pub async fn active(&self, not: Option<SaleId>) -> Result<ActiveSale, PortError> {
        let arrived_at = self.clock.monotonic();
        let active = self.active_cached(not);
        if !matches!(active, ActiveSale::None) {
            return Ok(active);
        }
        Box::pin(self.refresh_after(arrived_at)).await?;
        Ok(self.active_cached(not))
    }

    /// A refresh that began after this time.
    async fn refresh_after(&self, arrived_at: Duration) -> Result<(), PortError> {
        let mut flight = self.refresh.enter().await;
        // A refresh that began after the arrival has the answer.
        if !flight.has_succeeded_since(arrived_at) {
            flight.check_failure_since(arrived_at)?;
            self.refresh_now(&mut flight).await?;
        }
        Ok(())
    }

    /// [`Self::active`] from memory only.
    #[must_use]
    pub fn active_cached(&self, not: Option<SaleId>) -> ActiveSale {
        let Some(reading) = self.clock.database() else {
            return ActiveSale::None;
        };
        let mut open = self.cached.open(reading);
        open.retain(|cached| Some(cached.sale.id) != not);
        // On the hour, two scheduled sales may be open within the clock's error: the likelier one wins, then the later.
        let scheduled = open.iter().filter(|cached| cached.sale.scheduled).max_by_key(|cached| {
            let is_likely = cached.sale.window.state_at(reading.at) == SaleState::Open;
            (is_likely, cached.sale.window.starts_at())
        });
        let active = match (scheduled, open.as_slice()) {
            (Some(scheduled), _) => scheduled,
            (None, []) => return ActiveSale::None,
            (None, [only]) => only,
            (None, _) => return ActiveSale::Several,
        };
        self.mark_used(active);
        ActiveSale::Found(Arc::clone(active))
    }

    /// Sales in memory that are open, or may be within the clock's error.
    #[must_use]
    pub fn open(&self) -> Vec<Arc<CachedSale>> {
        self.clock.database().map(|reading| self.cached.open(reading)).unwrap_or_default()
    }

    /// The state of a sale; `None` if the reading is too old or the state is uncertain within the clock's error.
    #[must_use]
    pub fn state(&self, cached: &CachedSale) -> Option<SaleState> {
        let reading = self.clock.database()?;
        if !self.may_refuse(cached) {
            return None;
        }
        cached.sale.window.state_within(reading)
    }

    /// Whether the last reading of the sale is fresh enough to refuse a request.
    #[must_use]
    pub fn may_refuse(&self, cached: &CachedSale) -> bool {
        cached.is_fresh(self.clock.monotonic())
    }

    /// Applies facts to a sale in memory.
    #[cfg(test)]
    pub(crate) fn apply_stock(&self, sale: SaleId, facts: &StockFacts) {
        if let Some(cached) = self.cached.get(sale) {
            cached.apply_stock(facts);
        }
    }

    /// How much is in memory.
    #[must_use]
    pub fn usage(&self) -> SaleCacheUsage {
        let with_items = self.cached.with_items();
        SaleCacheUsage {
            sales: self.cached.len(),
            catalogues: with_items.iter().filter(|it| it.loaded_catalogue().is_some()).count(),
            item_bytes: with_items.iter().map(|it| it.item_bytes()).sum(),
        }
    }

    /// The database's clock, as estimated here.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}

/// A number that differs for other sales, or other terms of one. The poll returns them in one order.
fn fingerprint(sales: &[Sale]) -> u64 {
    // It has no random part: all instances come to the same number.
    let mut hasher = DefaultHasher::new();
    for sale in sales {
        let window = (sale.window.starts_at(), sale.window.ends_at());
        (sale.id, &sale.name, window, sale.buyer_limit, sale.items, sale.generation)
            .hash(&mut hasher);
    }
    hasher.finish()
}
