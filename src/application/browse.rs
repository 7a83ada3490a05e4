//! Browse: read sales, their items, and what was bought. Reads PostgreSQL each time: what was answered is seen at once.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::board::Board;
use super::catalogue::Item;
use super::ports::{
    CodeSigner, ItemReader, Ledger, Page, PageRequest, PastPurchase, PortError, PurchaseHistory,
    SaleBook, StockedItem,
};
use crate::domain::code::CodeClaim;
use crate::domain::ids::{BuyerId, ItemNo, SaleId};
use crate::domain::purchase::Outcome;
use crate::domain::sale::{Progress, Sale, SaleState};

/// A sale as it is now.
#[derive(Debug, Clone)]
pub struct SaleView {
    /// The sale.
    pub sale: Sale,
    /// Its state at `server_time`.
    pub state: SaleState,
    /// The database's clock.
    pub server_time: DateTime<Utc>,
    /// How much is gone.
    pub progress: Progress,
}

/// A purchase with the items it names.
#[derive(Debug)]
pub struct PurchaseView {
    /// The code that was purchased.
    pub code: CodeClaim,
    /// The sale.
    pub sale: SaleId,
    /// What it came to.
    pub outcome: Outcome,
    /// The items.
    pub items: Vec<Item>,
}

/// The answer to "what became of this code?".
#[derive(Debug)]
pub enum PurchaseLookup {
    /// This.
    Found(PurchaseView),
    /// Nothing yet.
    NotPurchased,
    /// It is no code of ours.
    UnknownCode,
}

/// Reads.
pub struct Browse {
    ports: BrowsePorts,
}

/// Everything that [`Browse`] needs.
pub struct BrowsePorts {
    /// For the clock.
    pub board: Arc<Board>,
    /// The sales.
    pub sales: Arc<dyn SaleBook>,
    /// Their items.
    pub items: Arc<dyn ItemReader>,
    /// Outcomes.
    pub ledger: Arc<dyn Ledger>,
    /// Buyers' histories.
    pub history: Arc<dyn PurchaseHistory>,
    /// Codes.
    pub signer: Arc<dyn CodeSigner>,
}

impl Browse {
    /// Reads from these ports.
    #[must_use]
    pub fn new(ports: BrowsePorts) -> Self {
        Self { ports }
    }

    /// Sales that are open, the scheduled ones first.
    pub async fn active(&self) -> Result<Vec<SaleView>, PortError> {
        let mut live = self.ports.sales.live().await?;
        live.sort_by_key(|sale| (!sale.scheduled, sale.window.starts_at()));
        let mut open = Vec::new();
        for sale in live {
            let is_open = self
                .ports
                .board
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

    /// A page of a sale's items; `None` if there is no such sale.
    pub async fn items(
        &self,
        sale: SaleId,
        available: bool,
        page: PageRequest,
    ) -> Result<Option<Page<StockedItem>>, PortError> {
        if self.ports.board.find(sale).await?.is_none() {
            return Ok(None);
        }
        self.ports.items.page(sale, available, page).await.map(Some)
    }

    /// What became of a code.
    pub async fn purchase(&self, claim: CodeClaim) -> Result<PurchaseLookup, PortError> {
        if !self.ports.signer.is_genuine(&claim) {
            return Ok(PurchaseLookup::UnknownCode);
        }
        let CodeClaim { sale, attempt, .. } = claim;
        let Some(outcome) = self.ports.ledger.outcome(sale, attempt).await? else {
            return Ok(PurchaseLookup::NotPurchased);
        };
        let items = self.ports.items.named(sale, &numbers(&outcome)).await?;
        Ok(PurchaseLookup::Found(PurchaseView { code: claim, sale, outcome, items }))
    }

    /// A page of what a buyer bought, newest first; of one sale if given.
    pub async fn history(
        &self,
        buyer: &BuyerId,
        sale: Option<SaleId>,
        page: PageRequest,
    ) -> Result<Page<PurchaseView>, PortError> {
        let past = self.ports.history.of_buyer(buyer, sale, page).await?;
        let mut entries = Vec::with_capacity(past.entries.len());
        for PastPurchase { sale, attempt, outcome } in past.entries {
            let items = self.ports.items.named(sale, &numbers(&outcome)).await?;
            let code = self.ports.signer.sign(sale, attempt);
            entries.push(PurchaseView { code, sale, outcome, items });
        }
        Ok(Page { entries, total: past.total })
    }

    async fn view(&self, sale: Sale) -> Result<SaleView, PortError> {
        let progress = self.ports.items.progress(sale.id).await?;
        let reading = self.ports.board.clock().database().ok_or(PortError::Unavailable {
            what: "the database's clock",
            source: "it was not measured yet".into(),
        })?;
        let state = sale.window.state_at(reading.at);
        Ok(SaleView { sale, state, server_time: reading.at, progress })
    }
}

fn numbers(outcome: &Outcome) -> Vec<ItemNo> {
    outcome.lines.iter().map(|line| line.line.item).collect()
}
