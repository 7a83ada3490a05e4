//! What is told to Redis after a commit: released locks, standings, stock, news. It goes in the background and in batches,
//! because nobody's answer depends on it; under load it is dropped, because everything here heals by itself.

use std::sync::Arc;

use redis::ScriptInvocation;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::Redis;
use super::news;
use crate::application::ports::{KnownStanding, Lease, StockFacts};
use crate::domain::bloom::BloomShape;
use crate::domain::ids::SaleId;
use crate::domain::sale::Sale;

/// Errands that wait; above it they are dropped.
const QUEUE: usize = 16_384;
/// Errands that are done together.
const BATCH: usize = 256;

/// Takes errands.
#[derive(Clone)]
pub(crate) struct Courier {
    errands: mpsc::Sender<Errand>,
}

enum Errand {
    Release(Lease),
    Standing(KnownStanding),
    Stock(Arc<Sale>, StockFacts),
    News(SaleId, StockFacts),
}

impl Courier {
    /// Starts the courier under `tasks`; after `stop` it does what waits and ends.
    pub(crate) fn start(redis: Redis, tasks: &TaskTracker, stop: CancellationToken) -> Self {
        let (errands, queue) = mpsc::channel(QUEUE);
        tasks.spawn(run(redis, queue, stop));
        Self { errands }
    }

    pub(super) fn release(&self, lease: Lease) {
        self.send(Errand::Release(lease));
    }

    pub(super) fn standing(&self, known: KnownStanding) {
        self.send(Errand::Standing(known));
    }

    pub(super) fn stock(&self, sale: &Arc<Sale>, facts: StockFacts) {
        self.send(Errand::Stock(Arc::clone(sale), facts));
    }

    pub(super) fn news(&self, sale: SaleId, facts: &StockFacts) {
        self.send(Errand::News(sale, facts.clone()));
    }

    fn send(&self, errand: Errand) {
        // Full or closed: locks and keys expire, totals and filters are rebuilt, standings are confirmed in PostgreSQL.
        let _ = self.errands.try_send(errand);
    }
}

async fn run(redis: Redis, mut queue: mpsc::Receiver<Errand>, stop: CancellationToken) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            biased;
            taken = queue.recv_many(&mut batch, BATCH) => {
                if taken == 0 {
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
        deliver(&redis, std::mem::take(&mut batch)).await;
    }
}

async fn deliver(redis: &Redis, batch: Vec<Errand>) {
    let mut standings = Vec::new();
    for errand in batch {
        // A failure is told once by the circuit; each errand heals by itself.
        match errand {
            Errand::Release(lease) => {
                let mut call = redis.scripts().lock_release.prepare_invoke();
                call.key(redis.keys().lock(lease.sale, lease.attempt)).arg(&lease.owner);
                invoke(redis, "the release of a lock", call).await;
            }
            Errand::Standing(known) => standings.push(known),
            Errand::Stock(sale, facts) => remember_stock(redis, &sale, &facts).await,
            Errand::News(sale, facts) => news::publish(redis, sale, &facts).await,
        }
    }
    while let Some(known) = standings.last() {
        let sale = Arc::clone(&known.sale);
        let (of_sale, others) =
            standings.into_iter().partition(|known: &KnownStanding| known.sale.id == sale.id);
        standings = others;
        remember_standings(redis, &sale, of_sale).await;
    }
}

async fn remember_standings(redis: &Redis, sale: &Sale, standings: Vec<KnownStanding>) {
    let mut call = redis.scripts().standings_remember.prepare_invoke();
    call.arg(redis.keys().expire_at(sale));
    for known in standings {
        let lines = &known.standing.lines;
        call.key(redis.keys().standing(sale.id, &known.buyer))
            .arg(known.version)
            .arg(known.standing.bought)
            .arg(lines.len());
        for line in lines {
            call.arg(line.item.0).arg(line.quantity.get());
        }
    }
    invoke(redis, "the standings", call).await;
}

/// Tells the shared memory what was sold.
pub(super) async fn remember_stock(redis: &Redis, sale: &Sale, facts: &StockFacts) {
    if facts.generation != sale.generation {
        return;
    }
    let keys = redis.keys().filter(sale);
    let mut call = redis.scripts().stock_remember.prepare_invoke();
    call.key(keys.filter).key(&keys.slots[0]).key(&keys.slots[1]).key(keys.totals);
    call.arg(redis.keys().expire_at(sale)).arg(facts.sold.len());
    for (item, sold) in &facts.sold {
        call.arg(item.0).arg(*sold);
    }
    let shape = BloomShape::for_items(sale.items);
    for place in facts.sold_out.iter().flat_map(|item| shape.positions(*item)) {
        call.arg(place);
    }
    invoke(redis, "the stock", call).await;
}

async fn invoke(redis: &Redis, what: &'static str, call: ScriptInvocation<'_>) {
    let mut manager = redis.manager();
    if let Err(error) = redis.call(what, call.invoke_async::<i64>(&mut manager)).await {
        tracing::debug!(%error, "redis was not told");
    }
}
