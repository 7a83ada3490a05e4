//! One instance on fakes: what the tests of the use cases start from, and what they look at afterwards.

use std::sync::Arc;
use std::time::Duration;

use super::builders::{a_new_sale, at, collect, settle_of};
use super::fakes::{
    FakeClock, FakeCodeLocks, FakeGates, FakeMeter, FakeNews, FakeRefusals, FakeSharedMemory,
    FakeShop, FakeSigner,
};
use crate::application::board::Board;
use crate::application::checkout::{Checkout, CheckoutPorts};
use crate::application::once::OncePorts;
use crate::application::ports::{
    CheckoutBook, CodeSigner, Collected, Ledger, Operation, RefusalReason, Settled,
};
use crate::application::purchase::{Purchase, PurchasePorts};
use crate::application::refusals::{Refusals, Room};
use crate::domain::code::CodeClaim;
use crate::domain::ids::AttemptId;
use crate::domain::sale::{NewSale, Sale, SaleWindow};

/// Expiry of the lock on a code.
const LOCK_TTL: Duration = Duration::from_secs(5);
/// How far the ends of an open window are from now.
const HALF_AN_HOUR: chrono::Duration = chrono::Duration::minutes(30);

/// One instance, and what it shares with others.
pub(crate) struct House {
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) shop: Arc<FakeShop>,
    pub(crate) memory: Arc<FakeSharedMemory>,
    locks: Arc<FakeCodeLocks>,
    gates: Arc<FakeGates>,
    pub(crate) news: Arc<FakeNews>,
    record: Arc<FakeRefusals>,
    pub(crate) board: Arc<Board>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) meter: Arc<FakeMeter>,
    pub(crate) signer: Arc<FakeSigner>,
}

impl House {
    /// A shop without sales.
    pub(crate) fn open() -> Self {
        let clock = FakeClock::at(at(100_000));
        let shop = FakeShop::new(Arc::clone(&clock));
        let record = Arc::<FakeRefusals>::default();
        Self {
            board: Arc::new(Board::new(shop.clone(), shop.clone(), clock.clone(), 10)),
            refusals: Arc::new(Refusals::new(record.instance(1), Room { burst: 100, refill: 100 })),
            locks: FakeCodeLocks::new(Arc::clone(&clock)),
            gates: FakeGates::new(Arc::clone(&clock)),
            memory: Arc::default(),
            news: Arc::default(),
            meter: Arc::default(),
            signer: Arc::new(FakeSigner { key: 1 }),
            clock,
            shop,
            record,
        }
    }

    pub(crate) fn clock(&self) -> Arc<FakeClock> {
        self.clock.clone()
    }

    pub(crate) fn shop(&self) -> Arc<FakeShop> {
        self.shop.clone()
    }

    pub(crate) fn memory(&self) -> Arc<FakeSharedMemory> {
        self.memory.clone()
    }

    pub(crate) fn board(&self) -> Arc<Board> {
        self.board.clone()
    }

    /// A sale for half an hour more, which the board has just seen.
    pub(crate) async fn sale(&self, items: i32, stock: i32) -> Sale {
        self.sale_like(NewSale { stock, ..self.new_sale(items) }).await
    }

    /// Such a sale, which the board has just seen.
    pub(crate) async fn sale_like(&self, new: NewSale) -> Sale {
        let sale = self.shop.put(&new, "test");
        self.board.refresh().await.unwrap();
        sale
    }

    /// Terms of a sale that is open now.
    pub(crate) fn new_sale(&self, items: i32) -> NewSale {
        let now = self.clock.truth();
        let window = SaleWindow::new(now - HALF_AN_HOUR, now + HALF_AN_HOUR).unwrap();
        a_new_sale(items, window)
    }

    /// A buyer's open attempt with one piece of each of these items, made elsewhere.
    pub(crate) async fn attempt(&self, sale: &Sale, who: &str, items: &[i32]) -> AttemptId {
        let mut open = None;
        for item in items {
            match self.shop.collect(collect(sale.id, who, *item, 1)).await.unwrap() {
                Collected::Added { attempt, .. } => open = Some(attempt),
                refused => panic!("{who} was refused item {item}: {refused:?}"),
            }
        }
        open.unwrap()
    }

    /// A buyer bought one piece of each of these items, elsewhere.
    pub(crate) async fn bought(&self, sale: &Sale, who: &str, items: &[i32]) -> Settled {
        let attempt = self.attempt(sale, who, items).await;
        self.shop.settle(settle_of(sale.id, attempt)).await.unwrap()
    }

    pub(crate) fn code(&self, sale: &Sale, attempt: AttemptId) -> CodeClaim {
        self.signer.sign(sale.id, attempt)
    }

    /// What is on record as refused, with how often.
    pub(crate) async fn refused(&self, sale: &Sale) -> Vec<(Operation, RefusalReason, i64)> {
        self.refusals.flush().await.unwrap();
        let totals = self.record.totals(sale.id).into_iter();
        totals.map(|total| (total.operation, total.reason, total.total)).collect()
    }

    pub(crate) fn checkout_ports(&self) -> CheckoutPorts {
        CheckoutPorts {
            board: self.board.clone(),
            book: self.shop.clone(),
            memory: self.memory.clone(),
            signer: self.signer.clone(),
            refusals: self.refusals.clone(),
            meter: self.meter.clone(),
        }
    }

    pub(crate) fn purchase(&self) -> Purchase {
        Purchase::new(self.purchase_ports())
    }

    pub(crate) fn once_ports(&self) -> OncePorts {
        OncePorts {
            checkout: Arc::new(Checkout::new(self.checkout_ports())),
            purchase: Arc::new(self.purchase()),
            board: self.board.clone(),
            book: self.shop.clone(),
            keys: self.shop.clone(),
            gate: self.gates.instance(LOCK_TTL),
            signer: self.signer.clone(),
        }
    }

    pub(crate) fn purchase_ports(&self) -> PurchasePorts {
        PurchasePorts {
            board: self.board.clone(),
            ledger: self.shop.clone(),
            lock: self.locks.instance(1, LOCK_TTL),
            memory: self.memory.clone(),
            news: self.news.clone(),
            signer: self.signer.clone(),
            refusals: self.refusals.clone(),
            meter: self.meter.clone(),
        }
    }
}
