//! Browse: read sales, their items, and what was bought. Reads PostgreSQL each time: what was answered is seen at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::board::Board;
use super::catalogue::Item;
use super::ports::{
    After, CodeSigner, ItemReader, Ledger, Page, PageRequest, PastPurchase, PortError,
    PurchaseHistory, PurchaseKey, SaleBook, SaleFilter, SaleKey, StockedItem, Stretch,
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

/// A sale in a list.
#[derive(Debug, Clone)]
pub struct ListedSale {
    /// The sale.
    pub sale: Sale,
    /// Its state now.
    pub state: SaleState,
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

/// Progress of a sale, and when its reading began; whoever waited for a reading that began after it came takes it.
type LastProgress = Arc<tokio::sync::Mutex<Option<(Duration, Progress)>>>;

/// Sales whose progress is remembered; above it all are forgotten.
const MAX_PROGRESS: usize = 1_000;

/// Reads.
pub struct Browse {
    ports: BrowsePorts,
    progress: Mutex<HashMap<SaleId, LastProgress>>,
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
        Self { ports, progress: Mutex::default() }
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

    /// A sale's items behind one of them; `None` if there is no such sale.
    pub async fn items_after(
        &self,
        sale: SaleId,
        available: bool,
        after: After<ItemNo>,
    ) -> Result<Option<Stretch<StockedItem, ItemNo>>, PortError> {
        if self.ports.board.find(sale).await?.is_none() {
            return Ok(None);
        }
        self.ports.items.list(sale, available, after).await.map(Some)
    }

    /// Sales by start, newest first. What each has sold would have to be added up, so it is not told here.
    pub async fn sales(
        &self,
        wanted: SaleFilter,
        after: After<SaleKey>,
    ) -> Result<Stretch<ListedSale, SaleKey>, PortError> {
        let Stretch { entries, next } = self.ports.sales.list(wanted, after).await?;
        let now = self.now()?;
        let entries = entries.into_iter().map(|sale| {
            // At an edge the clock as it is known here may differ from the one that filtered.
            let state = wanted.state.unwrap_or_else(|| sale.window.state_at(now));
            ListedSale { sale, state }
        });
        Ok(Stretch { entries: entries.collect(), next })
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
        Ok(Page { entries: self.purchases(past.entries).await?, total: past.total })
    }

    /// What a buyer bought before one of their purchases, newest first; of one sale if given.
    pub async fn history_after(
        &self,
        buyer: &BuyerId,
        sale: Option<SaleId>,
        after: After<PurchaseKey>,
    ) -> Result<Stretch<PurchaseView, PurchaseKey>, PortError> {
        let past = self.ports.history.list(buyer, sale, after).await?;
        Ok(Stretch { entries: self.purchases(past.entries).await?, next: past.next })
    }

    async fn purchases(&self, past: Vec<PastPurchase>) -> Result<Vec<PurchaseView>, PortError> {
        let mut views = Vec::with_capacity(past.len());
        for PastPurchase { sale, attempt, outcome } in past {
            let items = self.ports.items.named(sale, &numbers(&outcome)).await?;
            let code = self.ports.signer.sign(sale, attempt);
            views.push(PurchaseView { code, sale, outcome, items });
        }
        Ok(views)
    }

    /// Adds up the whole sale's stock, once for all who ask meanwhile: front ends that poll must not slow the sale down. What
    /// was sold before the question is in the answer.
    async fn progress(&self, sale: SaleId) -> Result<Progress, PortError> {
        let clock = self.ports.board.clock();
        let arrived_at = clock.monotonic();
        let last = self.last_progress(sale);
        let mut last = last.lock().await;
        if let Some((_, progress)) = last.filter(|(began_at, _)| *began_at > arrived_at) {
            return Ok(progress);
        }
        let began_at = clock.monotonic();
        let progress = self.ports.items.progress(sale).await?;
        *last = Some((began_at, progress));
        Ok(progress)
    }

    fn last_progress(&self, sale: SaleId) -> LastProgress {
        let mut all = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_PROGRESS {
            all.clear();
        }
        Arc::clone(all.entry(sale).or_default())
    }

    async fn view(&self, sale: Sale) -> Result<SaleView, PortError> {
        let progress = self.progress(sale.id).await?;
        let server_time = self.now()?;
        let state = sale.window.state_at(server_time);
        Ok(SaleView { sale, state, server_time, progress })
    }

    /// The database's clock.
    fn now(&self) -> Result<DateTime<Utc>, PortError> {
        let reading = self.ports.board.clock().database().ok_or(PortError::Unavailable {
            what: "the database's clock",
            source: "it was not measured yet".into(),
        })?;
        Ok(reading.at)
    }
}

fn numbers(outcome: &Outcome) -> Vec<ItemNo> {
    outcome.lines.iter().map(|line| line.line.item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::{
        MockCodeSigner, MockItemReader, MockLedger, MockPurchaseHistory, MockSaleBook,
    };
    use crate::domain::sale::{NewSale, SaleWindow};
    use crate::testing::builders::{attempt_id, away, buyer, sale_id, settle_of};
    use crate::testing::fakes::FakeSigner;
    use crate::testing::house::House;

    const ALL: PageRequest = PageRequest { page: 1, limit: 100 };

    fn ports(house: &House) -> BrowsePorts {
        BrowsePorts {
            board: house.board(),
            sales: house.shop(),
            items: house.shop(),
            ledger: house.shop(),
            history: house.shop(),
            signer: Arc::<FakeSigner>::clone(&house.signer),
        }
    }

    #[tokio::test]
    async fn open_sales_are_told_and_the_scheduled_one_first() {
        let house = House::open();
        let by_hand = house.sale(3, 1).await;
        let new = house.new_sale(3);
        let scheduled = house.sale_like(NewSale { scheduled: true, ..new.clone() }).await;
        let day = chrono::Duration::hours(20);
        let (start, end) = (new.window.starts_at() + day, new.window.ends_at() + day);
        let window = SaleWindow::new(start, end).unwrap();
        house.sale_like(NewSale { window, ..new }).await;

        let active = Browse::new(ports(&house)).active().await.unwrap();

        let ids: Vec<_> = active.iter().map(|view| view.sale.id).collect();
        assert_eq!(ids, [scheduled.id, by_hand.id]);
    }

    #[tokio::test]
    async fn a_sale_is_told_with_its_state_and_what_is_left() {
        let house = House::open();
        let sale = house.sale(3, 2).await;
        house.bought(&sale, "ann", &[1, 2]).await;

        let view = Browse::new(ports(&house)).sale(sale.id).await.unwrap().unwrap();

        assert_eq!((view.state, view.server_time), (SaleState::Open, house.clock.truth()));
        assert_eq!((view.progress.sold, view.progress.remaining), (2, 4));
    }

    #[tokio::test]
    async fn a_sale_that_does_not_exist_has_neither_view_nor_items() {
        let house = House::open();
        let browse = Browse::new(ports(&house));

        assert!(browse.sale(sale_id(9)).await.unwrap().is_none());
        assert!(browse.items(sale_id(9), false, ALL).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn items_are_told_with_what_is_left() {
        let house = House::open();
        let sale = house.sale(3, 1).await;
        house.bought(&sale, "ann", &[2]).await;

        let page = Browse::new(ports(&house)).items(sale.id, true, ALL).await.unwrap().unwrap();

        let numbers: Vec<_> = page.entries.iter().map(|entry| entry.item.no.0).collect();
        assert_eq!((numbers, page.total), (vec![1, 3], 2));
    }

    #[tokio::test]
    async fn a_purchase_is_found_by_its_code_with_its_items() {
        let house = House::open();
        let sale = house.sale(3, 1).await;
        let attempt = house.attempt(&sale, "ann", &[2, 3]).await;
        let browse = Browse::new(ports(&house));

        let before = browse.purchase(house.code(&sale, attempt)).await.unwrap();
        house.shop.settle(settle_of(sale.id, attempt)).await.unwrap();
        let after = browse.purchase(house.code(&sale, attempt)).await.unwrap();

        assert!(matches!(before, PurchaseLookup::NotPurchased));
        let PurchaseLookup::Found(view) = after else { panic!("{after:?}") };
        assert_eq!(view.items.iter().map(|item| item.no.0).collect::<Vec<_>>(), [2, 3]);
    }

    #[tokio::test]
    async fn a_forged_code_is_unknown_without_the_ledger() {
        let house = House::open();
        let sale = house.sale(3, 1).await;
        let mut signer = MockCodeSigner::new();
        signer.expect_is_genuine().returning(|_| false);
        let ledger = Arc::new(MockLedger::new());
        let ports = BrowsePorts { signer: Arc::new(signer), ledger, ..ports(&house) };

        let found = Browse::new(ports).purchase(house.code(&sale, attempt_id(1))).await.unwrap();

        assert!(matches!(found, PurchaseLookup::UnknownCode));
    }

    #[tokio::test]
    async fn a_history_names_codes_that_repeat_the_purchases() {
        let house = House::open();
        let sale = house.sale(3, 1).await;
        let attempt = house.attempt(&sale, "ann", &[2]).await;
        house.shop.settle(settle_of(sale.id, attempt)).await.unwrap();

        let past = Browse::new(ports(&house)).history(&buyer("ann"), None, ALL).await.unwrap();

        assert_eq!((past.total, past.entries[0].code), (1, house.code(&sale, attempt)));
    }

    #[tokio::test]
    async fn each_port_that_fails_is_an_error() {
        let house = House::open();
        let sale = house.sale(3, 1).await;
        let attempt = house.attempt(&sale, "ann", &[2]).await;
        house.shop.settle(settle_of(sale.id, attempt)).await.unwrap();
        let mut sales = MockSaleBook::new();
        sales.expect_live().returning(|| Err(away()));
        let mut ledger = MockLedger::new();
        ledger.expect_outcome().returning(|_, _| Err(away()));
        let mut history = MockPurchaseHistory::new();
        history.expect_of_buyer().returning(|_, _, _| Err(away()));
        let mut items = MockItemReader::new();
        items.expect_progress().returning(|_| Err(away()));
        let blind = Browse::new(BrowsePorts {
            sales: Arc::new(sales),
            ledger: Arc::new(ledger),
            history: Arc::new(history),
            ..ports(&house)
        });
        let uncounted = Browse::new(BrowsePorts { items: Arc::new(items), ..ports(&house) });

        assert!(blind.active().await.is_err());
        assert!(blind.purchase(house.code(&sale, attempt)).await.is_err());
        assert!(blind.history(&buyer("ann"), None, ALL).await.is_err());
        assert!(uncounted.sale(sale.id).await.is_err());
    }

    #[tokio::test]
    async fn without_the_databases_time_no_state_is_told() {
        let house = House::open();
        let sale = house.sale(3, 1).await;
        house.clock.forget();

        assert!(Browse::new(ports(&house)).sale(sale.id).await.is_err());
    }
}
