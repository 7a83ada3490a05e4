//! Writes to Redis what a commit has changed: released locks, buyers' totals, stock, sold-out events. It works in the background
//! and in batches, because no answer depends on it; under load it drops updates, because each of them expires or is
//! repaired by itself.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use redis::Script;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::Redis;
use super::script::script;
use super::{buyer_totals, lock, sold_out_message, stock};
use crate::application::history::History;
use crate::application::ports::{CommittedTotals, Lease, PortError, StockFacts};
use crate::domain::ids::{BuyerId, ItemNo, SaleId};
use crate::domain::sale::Sale;

static UPDATE_TOTALS: LazyLock<Script> = script!("totals_update");

/// Maximum number of waiting updates; further ones are dropped.
const QUEUE: usize = 16_384;
/// Maximum number of updates written together.
const BATCH: usize = 256;

/// Hands updates to the background task.
#[derive(Clone)]
pub(crate) struct CacheWriter {
    updates: mpsc::Sender<CacheUpdate>,
}

enum CacheUpdate {
    Release(Lease),
    BuyerTotals(CommittedTotals),
    Stock(Arc<Sale>, StockFacts),
    SoldOut(SaleId, Vec<ItemNo>),
}

impl CacheWriter {
    /// Starts the task under `tasks`; after `stop` it writes what waits and ends.
    pub(crate) fn start(
        redis: Redis,
        history: Arc<History>,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (updates, queue) = mpsc::channel(QUEUE);
        tasks.spawn(run(redis, history, queue, stop));
        Self { updates }
    }

    pub(crate) fn release(&self, lease: Lease) {
        self.send(CacheUpdate::Release(lease));
    }

    pub(crate) fn update_totals(&self, committed: CommittedTotals) {
        self.send(CacheUpdate::BuyerTotals(committed));
    }

    pub(crate) fn update_stock(&self, sale: &Arc<Sale>, facts: StockFacts) {
        self.send(CacheUpdate::Stock(Arc::clone(sale), facts));
    }

    pub(crate) fn publish_sold_out(&self, sale: SaleId, items: &[ItemNo]) {
        self.send(CacheUpdate::SoldOut(sale, items.to_vec()));
    }

    fn send(&self, update: CacheUpdate) {
        // Dropped if the queue is full or closed: locks and keys expire, totals of items and filters are rebuilt, totals of
        // buyers are confirmed in PostgreSQL.
        let _ = self.updates.try_send(update);
    }
}

async fn run(
    redis: Redis,
    history: Arc<History>,
    mut queue: mpsc::Receiver<CacheUpdate>,
    stop: CancellationToken,
) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            biased;
            received = queue.recv_many(&mut batch, BATCH) => {
                if received == 0 {
                    return;
                }
            }
            () = stop.cancelled() => {
                queue.close();
                if queue.recv_many(&mut batch, BATCH).await == 0 {
                    return;
                }
            }
        }
        write(&redis, history.id(), std::mem::take(&mut batch)).await;
    }
}

/// All updates of one sale in a batch: a call for each kind, whatever their number.
#[derive(Default)]
struct SaleUpdates {
    leases: Vec<Lease>,
    buyer_totals: Vec<CommittedTotals>,
    stock: Option<(Arc<Sale>, StockFacts)>,
    sold_out: Vec<ItemNo>,
}

async fn write(redis: &Redis, epoch: i64, batch: Vec<CacheUpdate>) {
    let mut sales: HashMap<SaleId, SaleUpdates> = HashMap::new();
    for update in batch {
        match update {
            CacheUpdate::Release(lease) => {
                sales.entry(lease.sale).or_default().leases.push(lease);
            }
            CacheUpdate::BuyerTotals(committed) => {
                sales.entry(committed.sale.id).or_default().buyer_totals.push(committed);
            }
            CacheUpdate::Stock(sale, facts) => {
                sales.entry(sale.id).or_default().add_stock(sale, facts);
            }
            CacheUpdate::SoldOut(sale, items) => {
                sales.entry(sale).or_default().sold_out.extend(items);
            }
        }
    }
    for (sale, updates) in sales {
        let SaleUpdates { leases, buyer_totals, stock, sold_out } = updates;
        // Together: they share one write to the connection, and none waits for another.
        tokio::join!(
            async {
                if !leases.is_empty() {
                    log_failure("locks", release(redis, &leases).await);
                }
            },
            async {
                if !sold_out.is_empty() {
                    let published = sold_out_message::publish(redis, epoch, sale, &sold_out).await;
                    log_failure("sold-out events", published);
                }
            },
            async {
                if let Some((sale, facts)) = &stock {
                    stock::update(redis, sale, facts).await;
                }
            },
            async {
                if let Some(first) = buyer_totals.first() {
                    let updated = update_totals(redis, &first.sale, &buyer_totals).await;
                    log_failure("buyers' totals", updated);
                }
            },
        );
    }
}

/// At debug level, because the circuit reports the failure.
fn log_failure(what: &'static str, result: Result<(), PortError>) {
    if let Err(error) = result {
        tracing::debug!(%error, what, "an update was not written to redis");
    }
}

impl SaleUpdates {
    /// Keeps the facts of the newest generation: older ones no longer hold.
    fn add_stock(&mut self, sale: Arc<Sale>, facts: StockFacts) {
        match &mut self.stock {
            Some((known, all)) if known.generation == sale.generation => merge(all, facts),
            Some((known, _)) if known.generation > sale.generation => {}
            _ => self.stock = Some((sale, facts)),
        }
    }
}

fn merge(all: &mut StockFacts, facts: StockFacts) {
    all.sold_out.extend(facts.sold_out);
    all.sold.extend(facts.sold);
}

async fn release(redis: &Redis, leases: &[Lease]) -> Result<(), PortError> {
    let locks = leases
        .iter()
        .map(|lease| (redis.keys().lock(lease.sale, lease.attempt), lease.owner.as_str()));
    lock::release(redis, "the release of locks", locks).await
}

async fn update_totals(
    redis: &Redis,
    sale: &Sale,
    buyer_totals: &[CommittedTotals],
) -> Result<(), PortError> {
    // A buyer may occur twice: the newest version counts.
    let mut newest: HashMap<&BuyerId, &CommittedTotals> =
        HashMap::with_capacity(buyer_totals.len());
    for committed in buyer_totals {
        let known = newest.entry(&committed.buyer).or_insert(committed);
        if known.version < committed.version {
            *known = committed;
        }
    }
    let mut call = UPDATE_TOTALS.prepare_invoke();
    call.arg(redis.keys().expire_at(sale));
    for (buyer, committed) in newest {
        call.key(redis.keys().totals(sale.id, buyer)).arg(buyer_totals::format(committed));
    }
    redis.invoke::<i64>("buyers' totals", &call).await?;
    Ok(())
}
