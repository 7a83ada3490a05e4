//! Adapters and use cases, put together.

use std::sync::Arc;

use prometheus::Registry;

use super::{App, AppError, Instance};
use crate::application::board::Board;
use crate::application::browse::{Browse, BrowsePorts};
use crate::application::checkout::{Checkout, CheckoutPorts};
use crate::application::once::{DoOnce, OncePorts};
use crate::application::ports::{
    CheckoutBook, CodeLock, CodeSigner, ItemReader, KeyBook, KeyGate, Leadership, Ledger, Meter,
    SaleBook, SharedMemory,
};
use crate::application::purchase::{Purchase, PurchasePorts};
use crate::application::refusals::{Refusals, Room};
use crate::config::{BatchConfig, Config, RefusalsConfig};
use crate::infrastructure::batching::{BatchLimits, BatchMetrics};
use crate::infrastructure::cache::{
    Courier, LockTimes, Redis, RedisCodeLock, RedisKeyGate, RedisLeadership, RedisMetrics,
    RedisNews, RedisSharedMemory,
};
use crate::infrastructure::circuit::CircuitMetrics;
use crate::infrastructure::http::Api;
use crate::infrastructure::monitoring::PrometheusMeter;
use crate::infrastructure::persistence::{
    Database, DatabaseClock, PostgresItemReader, PostgresKeyBook, PostgresPurchaseHistory,
    PostgresRefusalStore, PostgresSaleBook,
};
use crate::infrastructure::signing::{HmacCursorSigner, HmacSigner};

/// What the rest of the service is made of.
pub(crate) struct Parts {
    pub(crate) api: Api,
    pub(crate) board: Arc<Board>,
    pub(crate) sales: Arc<dyn SaleBook>,
    pub(crate) items: Arc<dyn ItemReader>,
    pub(crate) leadership: Arc<dyn Leadership>,
    pub(crate) keys: Arc<dyn KeyBook>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) redis: Redis,
    pub(crate) database: Database,
}

/// Ports that several use cases share.
struct Shared {
    board: Arc<Board>,
    sales: Arc<dyn SaleBook>,
    items: Arc<dyn ItemReader>,
    book: Arc<dyn CheckoutBook>,
    ledger: Arc<dyn Ledger>,
    lock: Arc<dyn CodeLock>,
    keys: Arc<dyn KeyBook>,
    gate: Arc<dyn KeyGate>,
    memory: Arc<dyn SharedMemory>,
    courier: Courier,
    signer: Arc<dyn CodeSigner>,
    meter: Arc<dyn Meter>,
    refusals: Arc<Refusals>,
    redis: Redis,
    database: Database,
}

impl Parts {
    /// Puts everything together; nothing runs yet but the courier.
    pub(crate) fn build(
        config: &Config,
        metrics: (&Registry, &CircuitMetrics),
        app: &App,
        instance: &Instance,
    ) -> Result<Self, AppError> {
        let shared = Shared::build(config, metrics, app)?;
        let checkout = Arc::new(shared.checkout());
        let purchase = Arc::new(shared.purchase());
        let api = Api {
            checkout: Arc::clone(&checkout),
            purchase: Arc::clone(&purchase),
            browse: Arc::new(shared.browse()),
            once: Arc::new(shared.once((&checkout, &purchase))),
            cursors: Arc::new(HmacCursorSigner::new(&config.code_keys)),
            tasks: app.requests.clone(),
            request_timeout: config.http.request_timeout,
        };
        let leadership = RedisLeadership::new(shared.redis.clone(), instance.name.clone());
        Ok(Self {
            api,
            board: shared.board,
            sales: shared.sales,
            items: shared.items,
            leadership: Arc::new(leadership),
            keys: shared.keys,
            refusals: shared.refusals,
            redis: shared.redis,
            database: shared.database,
        })
    }
}

impl Shared {
    fn build(
        config: &Config,
        (registry, circuits): (&Registry, &CircuitMetrics),
        app: &App,
    ) -> Result<Self, AppError> {
        let batch = &config.batch;
        let batches = BatchMetrics::register(registry)?;
        let database = app.database.clone();
        let redis = Redis::new(&config.redis, RedisMetrics::register(registry)?, circuits)?;
        let (tasks, stop) = app.writers.scope();
        let courier = Courier::start(redis.clone(), &tasks, stop);
        let clock = Arc::new(DatabaseClock::new());
        let sales: Arc<dyn SaleBook> = Arc::new(PostgresSaleBook::new(
            database.clone(),
            Arc::clone(&clock),
            config.catalogue.clone(),
        ));
        let items: Arc<dyn ItemReader> = Arc::new(PostgresItemReader::new(database.clone()));
        let unknown_sales = config.board.unknown_sales;
        let board = Board::new(Arc::clone(&sales), Arc::clone(&items), clock, unknown_sales);
        let selling = (app.make_selling)(database.clone(), batch, &batches, &app.writers);
        let lock = RedisCodeLock::new(
            (redis.clone(), courier.clone()),
            LockTimes { ttl: config.redis.lock_ttl, wait: config.redis.lock_wait },
            limits(batch, batch.purchase_size, 1),
            &batches,
            app.writers.scope(),
        );
        let keys = PostgresKeyBook::new(
            database.clone(),
            config.idempotency.keep,
            limits(batch, batch.checkout_size, 1),
            &batches,
            app.writers.scope(),
        );
        let gate = RedisKeyGate::new(redis.clone(), config.redis.lock_ttl);
        let memory = RedisSharedMemory::new(
            redis.clone(),
            courier.clone(),
            limits(batch, batch.checkout_size, 1),
            &batches,
            app.writers.scope(),
        );
        Ok(Self {
            board: Arc::new(board),
            sales,
            items,
            book: selling.book,
            ledger: selling.ledger,
            lock: Arc::new(lock),
            keys: Arc::new(keys),
            gate: Arc::new(gate),
            memory: Arc::new(memory),
            courier,
            signer: Arc::new(HmacSigner::new(&config.code_keys)?),
            meter: Arc::new(PrometheusMeter::register(registry)?),
            refusals: Arc::clone(&app.refusals),
            redis,
            database,
        })
    }

    fn checkout(&self) -> Checkout {
        Checkout::new(CheckoutPorts {
            board: Arc::clone(&self.board),
            book: Arc::clone(&self.book),
            memory: Arc::clone(&self.memory),
            signer: Arc::clone(&self.signer),
            refusals: Arc::clone(&self.refusals),
            meter: Arc::clone(&self.meter),
        })
    }

    fn purchase(&self) -> Purchase {
        Purchase::new(PurchasePorts {
            board: Arc::clone(&self.board),
            ledger: Arc::clone(&self.ledger),
            lock: Arc::clone(&self.lock),
            memory: Arc::clone(&self.memory),
            news: Arc::new(RedisNews::new(self.courier.clone())),
            signer: Arc::clone(&self.signer),
            refusals: Arc::clone(&self.refusals),
            meter: Arc::clone(&self.meter),
        })
    }

    fn once(&self, (checkout, purchase): (&Arc<Checkout>, &Arc<Purchase>)) -> DoOnce {
        DoOnce::new(OncePorts {
            checkout: Arc::clone(checkout),
            purchase: Arc::clone(purchase),
            board: Arc::clone(&self.board),
            book: Arc::clone(&self.book),
            keys: Arc::clone(&self.keys),
            gate: Arc::clone(&self.gate),
            signer: Arc::clone(&self.signer),
        })
    }

    fn browse(&self) -> Browse {
        Browse::new(BrowsePorts {
            board: Arc::clone(&self.board),
            sales: Arc::clone(&self.sales),
            items: Arc::clone(&self.items),
            ledger: Arc::clone(&self.ledger),
            history: Arc::new(PostgresPurchaseHistory::new(self.database.clone())),
            signer: Arc::clone(&self.signer),
        })
    }
}

/// The refusals of one run.
pub(crate) fn refusals(config: &Config, database: Database, instance: &Instance) -> Arc<Refusals> {
    let store = PostgresRefusalStore::new(database, instance.run);
    let RefusalsConfig { max_details: burst, details_per_flush: refill, .. } = config.refusals;
    Arc::new(Refusals::new(Arc::new(store), Room { burst, refill }))
}

/// The bounds of a queue.
pub(crate) fn limits(batch: &BatchConfig, size: usize, writers: usize) -> BatchLimits {
    BatchLimits {
        size,
        writers,
        queue: batch.queue_size,
        queue_timeout: batch.queue_timeout,
        wait_limit: batch.wait_limit,
    }
}
