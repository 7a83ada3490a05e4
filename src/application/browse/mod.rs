//! Browse: read sales, their items and purchases. Every read goes to PostgreSQL, so it contains every acknowledged write.

mod progress;
mod tests;

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::catalogue::Item;
use super::codes::Codes;
use super::ports::{
    Cursor, CursorPage, ItemReader, Ledger, Page, PageRequest, PastPurchase, PortError,
    PurchaseHistory, PurchaseKey, SaleFilter, SaleKey, SaleStore, StockedItem,
};
use super::sale_cache::SaleCache;
use crate::domain::code::CodeClaim;
use crate::domain::ids::{BuyerId, ItemNo, SaleId};
use crate::domain::purchase::Outcome;
use crate::domain::sale::{Progress, Sale, SaleState};

use progress::SharedProgress;

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
    /// Reads sales.
    pub sales: Arc<dyn SaleStore>,
    /// Reads items.
    pub items: Arc<dyn ItemReader>,
    /// Reads outcomes.
    pub ledger: Arc<dyn Ledger>,
    /// Reads buyers' purchases.
    pub history: Arc<dyn PurchaseHistory>,
    /// Signs and verifies codes.
    pub codes: Arc<Codes>,
}

impl Browse {
    /// Creates the use case on these ports.
    #[must_use]
    pub fn new(ports: BrowsePorts) -> Self {
        Self { ports, progress: SharedProgress::default() }
    }

    /// Open sales, scheduled ones first.
    pub async fn active(&self) -> Result<Vec<SaleView>, PortError> {
        let mut live = self.ports.sales.live().await?;
        live.sort_by_key(|sale| (!sale.scheduled, sale.window.starts_at()));
        let mut open = Vec::new();
        for sale in live {
            let is_open = self
                .ports
                .sale_cache
                .clock()
                .database()
                .is_some_and(|reading| sale.window.state_at(reading.at) == SaleState::Open);
            if is_open {
                open.push(self.view(sale).await?);
            }
        }
        Ok(open)
    }

    /// One sale.
    pub async fn sale(&self, id: SaleId) -> Result<Option<SaleView>, PortError> {
        match self.ports.sales.find(id).await? {
            Some(sale) => self.view(sale).await.map(Some),
            None => Ok(None),
        }
    }

    /// A page of a sale's items; `None` for an unknown sale.
    pub async fn items(
        &self,
        sale: SaleId,
        available: bool,
        page: PageRequest,
    ) -> Result<Option<Page<StockedItem>>, PortError> {
        if self.ports.sale_cache.find(sale).await?.is_none() {
            return Ok(None);
        }
        self.ports.items.page(sale, available, page).await.map(Some)
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
        Ok(PurchaseLookup::Found(PurchaseView { code: claim, sale, outcome, items }))
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
        let past = self.ports.history.list(buyer, sale, after).await?;
        Ok(CursorPage { entries: self.purchases(past.entries).await?, next: past.next })
    }

    async fn purchases(&self, past: Vec<PastPurchase>) -> Result<Vec<PurchaseView>, PortError> {
        let mut views = Vec::with_capacity(past.len());
        for PastPurchase { sale, attempt, outcome } in past {
            let items = self.ports.items.by_number(sale, &numbers(&outcome)).await?;
            let code = self.ports.codes.sign(sale, attempt);
            views.push(PurchaseView { code, sale, outcome, items });
        }
        Ok(views)
    }

    async fn view(&self, sale: Sale) -> Result<SaleView, PortError> {
        let clock = self.ports.sale_cache.clock();
        let progress = self.progress.read(sale.id, &*self.ports.items, &**clock).await?;
        let server_time = self.now()?;
        let state = sale.window.state_at(server_time);
        Ok(SaleView { sale, state, server_time, progress })
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

fn numbers(outcome: &Outcome) -> Vec<ItemNo> {
    outcome.lines.iter().map(|line| line.line.item).collect()
}
