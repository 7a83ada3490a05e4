//! Sale cache: what this instance knows of sales, in memory, so that most requests of a sale need no I/O.
//!
//! It applies the instance's own commits at once, events of other instances within milliseconds, and polls PostgreSQL for
//! generations. It may refuse a request only while its last reading of the sale is younger than [`FRESH_FOR`]; afterwards
//! PostgreSQL decides. An unknown sale is looked up before it is refused.

mod cached_sale;
mod cached_sales;
mod not_found;
mod single_flight;
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use cached_sale::{CachedSale, FRESH_FOR};

use super::catalogue::{Catalogue, Item};
use super::history::History;
#[cfg(test)]
use super::ports::StockFacts;
use super::ports::{Clock, ItemReader, PortError, SaleStore};
use crate::domain::ids::{ItemNo, SaleId};
use crate::domain::sale::{Sale, SaleState};

use cached_sales::CachedSales;
use not_found::NotFoundCache;
use single_flight::{LastFlight, SingleFlight};

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
    refresh: SingleFlight,
    lookup: SingleFlight,
}

impl SaleCache {
    /// An empty cache that keeps at most `max_not_found` ids of unknown sales.
    #[must_use]
    pub fn new(
        sales: Arc<dyn SaleStore>,
        items: Arc<dyn ItemReader>,
        clock: Arc<dyn Clock>,
        max_not_found: usize,
    ) -> Self {
        Self {
            sales,
            items,
            clock,
            history: Arc::default(),
            cached: CachedSales::default(),
            not_found: NotFoundCache::new(max_not_found),
            refresh: SingleFlight::default(),
            lookup: SingleFlight::default(),
        }
    }

    /// The cache, for a database with this history.
    #[must_use]
    pub fn following(self, history: Arc<History>) -> Self {
        Self { history, ..self }
    }

    /// Reads the live sales from PostgreSQL. A newer generation drops the known sold-out items.
    pub async fn refresh(&self) -> Result<(), PortError> {
        let mut flight = self.refresh.enter().await;
        self.refresh_now(&mut flight).await
    }

    async fn refresh_now(&self, flight: &mut LastFlight) -> Result<(), PortError> {
        let (began_at, epoch) = (self.clock.monotonic(), self.history.id());
        let live = self.sales.live().await;
        flight.record(began_at, self.clock.monotonic(), &live);
        for sale in live? {
            self.put(sale, began_at, epoch);
        }
        self.tidy_up();
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

    fn tidy_up(&self) {
        if let Some(reading) = self.clock.database() {
            self.cached.tidy_up(reading);
        }
    }

    /// A sale by its id; looked up in PostgreSQL if it is not in memory.
    pub async fn find(&self, id: SaleId) -> Result<Option<Arc<CachedSale>>, PortError> {
        if let Some(cached) = self.find_cached(id) {
            return Ok(Some(cached));
        }
        let arrived_at = self.clock.monotonic();
        if self.not_found.contains(id, arrived_at) {
            return Ok(None);
        }
        let mut flight = self.lookup.enter().await;
        if let Some(cached) = self.find_cached(id) {
            return Ok(Some(cached));
        }
        if self.not_found.contains(id, self.clock.monotonic()) {
            return Ok(None);
        }
        flight.check_failure_since(arrived_at)?;
        let (began_at, epoch) = (self.clock.monotonic(), self.history.id());
        let found = self.sales.find(id).await;
        flight.record(began_at, self.clock.monotonic(), &found);
        let Some(sale) = found? else {
            self.not_found.insert(id, self.clock.monotonic());
            return Ok(None);
        };
        let cached = self.put(sale, began_at, epoch);
        self.tidy_up();
        Ok(Some(cached))
    }

    /// A sale by its id, if it is in memory.
    #[must_use]
    pub fn find_cached(&self, id: SaleId) -> Option<Arc<CachedSale>> {
        self.cached.get(id)
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
        let mut flight = self.refresh.enter().await;
        // A refresh that began after the arrival has the answer.
        if !flight.has_succeeded_since(arrived_at) {
            flight.check_failure_since(arrived_at)?;
            self.refresh_now(&mut flight).await?;
        }
        Ok(self.active_cached(not))
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
        match (scheduled, open.as_slice()) {
            (Some(scheduled), _) => ActiveSale::Found(Arc::clone(scheduled)),
            (None, []) => ActiveSale::None,
            (None, [only]) => ActiveSale::Found(Arc::clone(only)),
            (None, _) => ActiveSale::Several,
        }
    }

    /// Sales in memory that are open, or may be within the clock's error.
    #[must_use]
    pub fn open(&self) -> Vec<Arc<CachedSale>> {
        self.clock.database().map(|reading| self.cached.open(reading)).unwrap_or_default()
    }

    /// The catalogue of a sale; concurrent callers load it once.
    pub async fn catalogue(&self, cached: &CachedSale) -> Result<Arc<Catalogue>, PortError> {
        let load = || async { self.items.catalogue(cached.sale.id).await.map(Arc::new) };
        cached.catalogue.get_or_try_init(load).await.cloned()
    }

    /// Items by number, from memory if the catalogue is loaded, as it is for every sale that was sold recently.
    pub async fn items_by_number(
        &self,
        sale: SaleId,
        numbers: &[ItemNo],
    ) -> Result<Vec<Item>, PortError> {
        if let Some(cached) = self.find(sale).await?
            && let Some(catalogue) = cached.loaded_catalogue()
        {
            return Ok(numbers.iter().filter_map(|no| catalogue.item(*no)).collect());
        }
        self.items.by_number(sale, numbers).await
    }

    /// Loads the catalogues and the stock of all sales that have not ended, before requests need them.
    pub async fn warm(&self) -> Result<(), PortError> {
        let Some(reading) = self.clock.database() else {
            return Ok(());
        };
        for cached in self.cached.not_ended(reading) {
            self.catalogue(&cached).await?;
            if !cached.is_warm() {
                cached.apply_stock(&self.items.stock(cached.sale.id).await?.facts);
                cached.mark_warm();
            }
        }
        Ok(())
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
        if let Some(cached) = self.find_cached(sale) {
            cached.apply_stock(facts);
        }
    }

    /// The database's clock, as estimated here.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}
