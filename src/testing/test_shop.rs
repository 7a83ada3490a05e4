//! One instance on fakes, for the tests of the use cases.

use std::sync::Arc;
use std::time::Duration;

use super::builders::{a_new_sale, at, collect, settle_of};
use super::fakes::{
    FakeBusinessMetrics, FakeClock, FakeCodeLocks, FakeHintCache, FakeIdempotencyLocks, FakePause,
    FakeRefusals, FakeShop, FakeSigner, FakeSoldOutEvents,
};
use crate::application::checkout::{Checkout, CheckoutPorts};
use crate::application::codes::{Codes, CodesPorts};
use crate::application::idempotency::IdempotencyPorts;
use crate::application::ports::{
    CheckoutStore, CodeSigner, Collected, Ledger, MockEpochReader, Operation, RefusalReason,
    Settled,
};
use crate::application::purchase::{Purchase, PurchasePorts};
use crate::application::refusals::{DetailBudget, Refusals};
use crate::application::sale_cache::{SaleCache, SaleCacheLimits};
use crate::application::turns::Turns;
use crate::domain::code::CodeClaim;
use crate::domain::ids::AttemptId;
use crate::domain::sale::{NewSale, Sale, SaleWindow};

/// Bounds of a sale cache in which all items fit.
pub(crate) const CACHE_LIMITS: SaleCacheLimits =
    SaleCacheLimits { not_found: 10, item_bytes: 1_000_000 };
/// Expiry of the lock on a code.
const LOCK_TTL: Duration = Duration::from_secs(5);
/// How long a repeat waits for the first: shorter than its lock holds.
const WAIT: Duration = Duration::from_secs(1);
/// Distance between now and the ends of an open window.
const HALF_AN_HOUR: chrono::Duration = chrono::Duration::minutes(30);

/// Codes of this signer in a database without epochs.
pub(crate) fn codes_of(signer: Arc<dyn CodeSigner>) -> Arc<Codes> {
    Arc::new(Codes::new(CodesPorts {
        signer,
        history: Arc::default(),
        epochs: Arc::new(MockEpochReader::new()),
        clock: FakeClock::at(at(0)),
    }))
}

/// One instance, and the fakes that it shares with other instances.
pub(crate) struct TestShop {
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) shop: Arc<FakeShop>,
    pub(crate) hints: Arc<FakeHintCache>,
    locks: Arc<FakeCodeLocks>,
    idempotency_locks: Arc<FakeIdempotencyLocks>,
    pub(crate) sold_out_events: Arc<FakeSoldOutEvents>,
    refusal_store: Arc<FakeRefusals>,
    pub(crate) sale_cache: Arc<SaleCache>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) business_metrics: Arc<FakeBusinessMetrics>,
    pub(crate) signer: Arc<FakeSigner>,
}

impl TestShop {
    /// A shop without sales.
    pub(crate) fn open() -> Self {
        let clock = FakeClock::at(at(100_000));
        let shop = FakeShop::new(Arc::clone(&clock));
        let refusal_store = Arc::<FakeRefusals>::default();
        Self {
            sale_cache: Arc::new(SaleCache::new(
                shop.clone(),
                shop.clone(),
                clock.clone(),
                CACHE_LIMITS,
            )),
            refusals: Arc::new(Refusals::new(
                refusal_store.instance(1),
                DetailBudget { burst: 100, refill: 100 },
            )),
            locks: FakeCodeLocks::new(Arc::clone(&clock)),
            idempotency_locks: FakeIdempotencyLocks::new(Arc::clone(&clock)),
            hints: Arc::default(),
            sold_out_events: Arc::default(),
            business_metrics: Arc::default(),
            signer: Arc::new(FakeSigner { key: 1 }),
            clock,
            shop,
            refusal_store,
        }
    }

    pub(crate) fn clock(&self) -> Arc<FakeClock> {
        self.clock.clone()
    }

    pub(crate) fn shop(&self) -> Arc<FakeShop> {
        self.shop.clone()
    }

    pub(crate) fn hints(&self) -> Arc<FakeHintCache> {
        self.hints.clone()
    }

    /// Codes of this shop.
    pub(crate) fn codes(&self) -> Arc<Codes> {
        codes_of(self.signer.clone())
    }

    pub(crate) fn sale_cache(&self) -> Arc<SaleCache> {
        self.sale_cache.clone()
    }

    /// A sale that is open for another half hour, already in the sale cache.
    pub(crate) async fn sale(&self, items: i32, stock: i32) -> Sale {
        self.sale_like(NewSale { stock, ..self.new_sale(items) }).await
    }

    /// A sale with these terms, already in the sale cache.
    pub(crate) async fn sale_like(&self, new: NewSale) -> Sale {
        let sale = self.shop.put(&new, "test");
        self.sale_cache.refresh().await.unwrap();
        sale
    }

    /// The terms of a sale that is open now.
    pub(crate) fn new_sale(&self, items: i32) -> NewSale {
        let now = self.clock.truth();
        let window = SaleWindow::new(now - HALF_AN_HOUR, now + HALF_AN_HOUR).unwrap();
        a_new_sale(items, window)
    }

    /// Collects one piece of each item at another instance, and returns the buyer's open attempt.
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

    /// Buys one piece of each item at another instance.
    pub(crate) async fn bought(&self, sale: &Sale, who: &str, items: &[i32]) -> Settled {
        let attempt = self.attempt(sale, who, items).await;
        self.shop.settle(settle_of(sale.id, attempt)).await.unwrap()
    }

    pub(crate) fn code(&self, sale: &Sale, attempt: AttemptId) -> CodeClaim {
        self.signer.sign(sale.id, attempt)
    }

    /// The stored refusals and their counts.
    pub(crate) async fn refused(&self, sale: &Sale) -> Vec<(Operation, RefusalReason, i64)> {
        self.refusals.flush().await.unwrap();
        let totals = self.refusal_store.totals(sale.id).into_iter();
        totals.map(|total| (total.operation, total.reason, total.total)).collect()
    }

    pub(crate) fn checkout_ports(&self) -> CheckoutPorts {
        CheckoutPorts {
            sale_cache: self.sale_cache.clone(),
            checkouts: self.shop.clone(),
            hints: self.hints.clone(),
            codes: self.codes(),
            refusals: self.refusals.clone(),
            business_metrics: self.business_metrics.clone(),
        }
    }

    pub(crate) fn purchase(&self) -> Purchase {
        Purchase::new(self.purchase_ports())
    }

    pub(crate) fn idempotency_ports(&self) -> IdempotencyPorts {
        IdempotencyPorts {
            checkout: Arc::new(Checkout::new(self.checkout_ports())),
            purchase: Arc::new(self.purchase()),
            sale_cache: self.sale_cache.clone(),
            checkouts: self.shop.clone(),
            keys: self.shop.clone(),
            idempotency_lock: self.idempotency_locks.instance(LOCK_TTL),
            turns: self.turns(),
            codes: self.codes(),
        }
    }

    fn turns(&self) -> Turns {
        let pause = Arc::new(FakePause(Arc::clone(&self.clock)));
        Turns { clock: self.clock(), pause, wait: WAIT }
    }

    pub(crate) fn purchase_ports(&self) -> PurchasePorts {
        PurchasePorts {
            sale_cache: self.sale_cache.clone(),
            ledger: self.shop.clone(),
            lock: self.locks.instance(1, LOCK_TTL),
            turns: self.turns(),
            hints: self.hints.clone(),
            sold_out_events: self.sold_out_events.clone(),
            codes: self.codes(),
            refusals: self.refusals.clone(),
            business_metrics: self.business_metrics.clone(),
            read_cache: None,
        }
    }
}
