//! Browse: read sales, their items and purchases.
//!
//! Items and purchases are read from PostgreSQL each time, so a read contains every acknowledged write; from a replica, if there is
//! one, pages of items and lists of sales may lag by its limit. A sale and its progress may be `MIN_AGE` old, so that front ends that
//! poll cost the same however many they are; what this instance has acknowledged is contained all the same. The read cache, if it is
//! on, makes all of them older by the times that the operator has chosen.

mod cached_sums;
mod progress;
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::catalogue::Item;
use super::codes::Codes;
use super::ports::{
    CancellationReader, Cursor, CursorPage, ItemReader, Ledger, Page, PageRequest, PastPurchase,
    Pause, PortError, PurchaseHistory, PurchaseKey, ReadCache, SaleFilter, SaleKey, SaleStore,
    StockedItem, TakenBack,
};
use super::sale_cache::{CachedSale, SaleCache};
use crate::domain::code::CodeClaim;
use crate::domain::ids::{AttemptId, BuyerId, ItemNo, SaleId};
use crate::domain::purchase::Outcome;
use crate::domain::sale::{Progress, Sale, SaleState};

use cached_sums::known_sum;
use progress::{MIN_AGE, SharedProgress, Sources, Wanted};

/// Maximum number of open sales in the answer to [`Browse::active`].
const MAX_ACTIVE: usize = 1_000;

/// The current state of a sale.
#[derive(Debug, Clone)]
pub struct SaleView {
    /// The sale.
    pub sale: Sale,
    /// Its state at `server_time`.
    pub state: SaleState,
    /// The database's clock.
    pub server_time: DateTime<Utc>,
    /// Pieces sold and left.
    pub progress: Progress,
}

/// A sale in a list. It has no progress, which would have to be added up for each sale.
#[derive(Debug, Clone)]
pub struct ListedSale {
    /// The sale.
    pub sale: Sale,
    /// Its current state.
    pub state: SaleState,
}

/// A purchase with its items.
#[derive(Debug)]
pub struct PurchaseView {
    /// The code of the purchased checkout.
    pub code: CodeClaim,
    /// The sale.
    pub sale: SaleId,
    /// The outcome.
    pub outcome: Outcome,
    /// The items.
    pub items: Vec<Item>,
    /// The lines that an operator has taken back since, by item number.
    pub taken_back: Vec<TakenBack>,
}

/// The purchase of a code.
#[derive(Debug)]
pub enum PurchaseLookup {
    /// The code has been purchased.
    Found(PurchaseView),
    /// The code has not been purchased.
    NotPurchased,
    /// The code was not issued by this service.
    UnknownCode,
}

/// The use case of all reads.
pub struct Browse {
    ports: BrowsePorts,
    progress: SharedProgress,
}

/// The ports of [`Browse`].
pub struct BrowsePorts {
    /// Knows which sales exist, and the clock.
    pub sale_cache: Arc<SaleCache>,
    /// Lists sales.
    pub sales: Arc<dyn SaleStore>,
    /// Reads items.
    pub items: Arc<dyn ItemReader>,
    /// Reads outcomes.
    pub ledger: Arc<dyn Ledger>,
    /// Reads buyers' purchases.
    pub history: Arc<dyn PurchaseHistory>,
    /// Knows what was taken back.
    pub cancellations: Arc<dyn CancellationReader>,
    /// Signs and verifies codes.
    pub codes: Arc<Codes>,
    /// Waits until a sum may be made again.
    pub pause: Arc<dyn Pause>,
    /// Caches sums for longer, if reads are cached.
    pub read_cache: Option<Arc<dyn ReadCache>>,
}

impl Browse {
    /// Creates the use case on these ports.
    #[must_use]
    pub fn new(ports: BrowsePorts) -> Self {
        Self { ports, progress: SharedProgress::default() }
    }

    /// Open sales, scheduled ones first.
    pub async fn active(&self) -> Result<Vec<SaleView>, PortError> {
        let mut open = self.ports.sale_cache.open_recent(MIN_AGE).await?;
        let now = self.now()?;
        open.retain(|cached| cached.sale.window.state_at(now) == SaleState::Open);
        open.sort_by_key(|cached| (!cached.sale.scheduled, cached.sale.window.starts_at()));
        open.truncate(MAX_ACTIVE);
        self.views(&open).await
    }

    /// One sale.
    pub async fn sale(&self, id: SaleId) -> Result<Option<SaleView>, PortError> {
        match self.ports.sale_cache.find_recent(id, MIN_AGE).await? {
            Some(cached) => Ok(self.views(&[cached]).await?.pop()),
            None => Ok(None),
        }
    }

    /// These sales as they are now, whatever the age of what is known of them. The requests of the next moments share the sums.
    pub async fn renewed(&self, sales: &[Arc<CachedSale>]) -> Result<Vec<SaleView>, PortError> {
        let progress = self.progress.renew(&wanted(sales), self.sources()).await?;
        self.views_with(sales, &progress)
    }

    /// Whether a sale that is not found was archived.
    pub async fn is_archived(&self, sale: SaleId) -> Result<bool, PortError> {
        let sale_cache = &self.ports.sale_cache;
        Ok(sale_cache.find(sale).await?.is_none() && sale_cache.is_archived(sale).await?)
    }

    /// Whether a list without entries is one of this sale, which was archived.
    pub async fn was_archived(&self, sale: Option<SaleId>) -> Result<bool, PortError> {
        match sale {
            Some(sale) => self.is_archived(sale).await,
            None => Ok(false),
        }
    }

    /// Whether a code that leads to nothing is one of an archived sale.
    pub async fn is_archived_code(&self, claim: CodeClaim) -> Result<bool, PortError> {
        let BrowsePorts { codes, sale_cache, .. } = &self.ports;
        Ok(codes.is_genuine(&claim).await? && sale_cache.is_archived(claim.sale).await?)
    }

    /// A page of a sale's items; `None` for an unknown sale.
    pub async fn items(
        &self,
        sale: SaleId,
        available: bool,
        page: PageRequest,
    ) -> Result<Option<Page<StockedItem>>, PortError> {
        let Some(cached) = self.ports.sale_cache.find(sale).await? else {
            return Ok(None);
        };
        let total = if available {
            let progress = self.progress(&[Arc::clone(&cached)]).await?;
            progress.get(&sale).map_or(0, |progress| progress.available_items)
        } else {
            cached.sale.items.into()
        };
        let entries = self.ports.items.page(sale, available, page).await?;
        Ok(Some(Page { entries, total }))
    }

    /// A sale's items from a cursor on; `None` for an unknown sale.
    pub async fn items_after(
        &self,
        sale: SaleId,
        available: bool,
        after: Cursor<ItemNo>,
    ) -> Result<Option<CursorPage<StockedItem, ItemNo>>, PortError> {
        if self.ports.sale_cache.find(sale).await?.is_none() {
            return Ok(None);
        }
        self.ports.items.list(sale, available, after).await.map(Some)
    }

    /// Sales by start, newest first.
    pub async fn sales(
        &self,
        wanted: SaleFilter,
        after: Cursor<SaleKey>,
    ) -> Result<CursorPage<ListedSale, SaleKey>, PortError> {
        let CursorPage { entries, next } = self.ports.sales.list(wanted, after).await?;
        let now = self.now()?;
        let entries = entries.into_iter().map(|sale| {
            // Near an edge, the clock estimate may differ from the clock of the filter.
            let state = wanted.state.unwrap_or_else(|| sale.window.state_at(now));
            ListedSale { sale, state }
        });
        Ok(CursorPage { entries: entries.collect(), next })
    }

    /// The purchase of a code.
    pub async fn purchase(&self, claim: CodeClaim) -> Result<PurchaseLookup, PortError> {
        if !self.ports.codes.is_genuine(&claim).await? {
            return Ok(PurchaseLookup::UnknownCode);
        }
        let CodeClaim { sale, attempt, .. } = claim;
        let Some(outcome) = self.ports.ledger.outcome(sale, attempt).await? else {
            return Ok(PurchaseLookup::NotPurchased);
        };
        let items = self.ports.items.by_number(sale, &numbers(&outcome)).await?;
        let taken_back = self.taken_back(sale, &[attempt]).await?;
        let view = PurchaseView { code: claim, sale, outcome, items, taken_back };
        Ok(PurchaseLookup::Found(view))
    }

    /// A page of a buyer's purchases, newest first, optionally of one sale.
    pub async fn history(
        &self,
        buyer: &BuyerId,
        sale: Option<SaleId>,
        page: PageRequest,
    ) -> Result<Page<PurchaseView>, PortError> {
        let past = self.ports.history.of_buyer(buyer, sale, page).await?;
        Ok(Page { entries: self.purchases(past.entries).await?, total: past.total })
    }

    /// A buyer's purchases from a cursor on, newest first, optionally of one sale.
    pub async fn history_after(
        &self,
        buyer: &BuyerId,
        sale: Option<SaleId>,
        after: Cursor<PurchaseKey>,
    ) -> Result<CursorPage<PurchaseView, PurchaseKey>, PortError> {
        let mut past = self.ports.history.list(buyer, sale, after).await?;
        // The store looks in a part of the sales at a time: an empty page before the end would look like the end.
        while past.entries.is_empty()
            && let Some(entry) = past.next
        {
            let after = Cursor { entry: Some(entry), ..after };
            past = self.ports.history.list(buyer, sale, after).await?;
        }
        Ok(CursorPage { entries: self.purchases(past.entries).await?, next: past.next })
    }

    async fn purchases(&self, past: Vec<PastPurchase>) -> Result<Vec<PurchaseView>, PortError> {
        let mut attempts: HashMap<SaleId, Vec<AttemptId>> = HashMap::new();
        for PastPurchase { sale, attempt, .. } in &past {
            attempts.entry(*sale).or_default().push(*attempt);
        }
        let mut taken_back: HashMap<AttemptId, Vec<TakenBack>> = HashMap::new();
        for (sale, attempts) in attempts {
            for taken in self.taken_back(sale, &attempts).await? {
                taken_back.entry(taken.attempt).or_default().push(taken);
            }
        }
        let mut views = Vec::with_capacity(past.len());
        for PastPurchase { sale, attempt, outcome } in past {
            let items = self.ports.items.by_number(sale, &numbers(&outcome)).await?;
            let code = self.ports.codes.sign(sale, attempt).await?;
            let taken_back = taken_back.remove(&attempt).unwrap_or_default();
            views.push(PurchaseView { code, sale, outcome, items, taken_back });
        }
        Ok(views)
    }

    /// The lines of these purchases that were taken back, by item number.
    async fn taken_back(
        &self,
        sale: SaleId,
        attempts: &[AttemptId],
    ) -> Result<Vec<TakenBack>, PortError> {
        let mut taken_back = self.ports.cancellations.taken_back(sale, attempts).await?;
        taken_back.sort_by_key(|taken| taken.item);
        Ok(taken_back)
    }

    /// The progress of these sales.
    async fn progress(
        &self,
        sales: &[Arc<CachedSale>],
    ) -> Result<HashMap<SaleId, Progress>, PortError> {
        let read_cache = self.ports.read_cache.as_deref();
        let known = |cached: &Arc<CachedSale>| {
            known_sum(read_cache?, (cached.sale.id, cached.sale.generation))
        };
        let mut found: HashMap<SaleId, Progress> = sales.iter().filter_map(known).collect();
        let others: Vec<Arc<CachedSale>> =
            sales.iter().filter(|cached| !found.contains_key(&cached.sale.id)).cloned().collect();
        found.extend(self.progress.read(&wanted(&others), self.sources()).await?);
        Ok(found)
    }

    fn sources(&self) -> Sources<'_> {
        let BrowsePorts { sale_cache, items, pause, read_cache, .. } = &self.ports;
        Sources {
            items: &**items,
            cache: read_cache.as_deref(),
            clock: &**sale_cache.clock(),
            pause: &**pause,
        }
    }

    /// These sales with their progress. One that was dropped meanwhile is left out.
    async fn views(&self, sales: &[Arc<CachedSale>]) -> Result<Vec<SaleView>, PortError> {
        let progress = self.progress(sales).await?;
        self.views_with(sales, &progress)
    }

    fn views_with(
        &self,
        sales: &[Arc<CachedSale>],
        progress: &HashMap<SaleId, Progress>,
    ) -> Result<Vec<SaleView>, PortError> {
        let server_time = self.now()?;
        let views = sales.iter().filter_map(|cached| {
            let progress = *progress.get(&cached.sale.id)?;
            let sale = Sale::clone(&cached.sale);
            let state = sale.window.state_at(server_time);
            Some(SaleView { sale, state, server_time, progress })
        });
        Ok(views.collect())
    }

    /// The database's clock.
    fn now(&self) -> Result<DateTime<Utc>, PortError> {
        let reading = self.ports.sale_cache.clock().database().ok_or(PortError::Unavailable {
            what: "the database's clock",
            source: "it has not been measured yet".into(),
        })?;
        Ok(reading.at)
    }
}

fn wanted(sales: &[Arc<CachedSale>]) -> Vec<Wanted> {
    let wanted = sales.iter().map(|cached| Wanted {
        sale: cached.sale.id,
        items: cached.sale.items,
        sold_at: cached.sold_at(),
        generation: cached.sale.generation,
    });
    wanted.collect()
}

fn numbers(outcome: &Outcome) -> Vec<ItemNo> {
    outcome.lines.iter().map(|line| line.line.item).collect()
}
