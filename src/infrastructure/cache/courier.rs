//! What is told to Redis after a commit: released locks, standings, stock, news. It goes in the background and in batches,
//! because nobody's answer depends on it; under load it is dropped, because everything here heals by itself.

use std::collections::HashMap;
use std::sync::Arc;

use redis::ScriptInvocation;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::Redis;
use super::{news, standing};
use crate::application::ports::{KnownStanding, Lease, StockFacts};
use crate::domain::bloom::BloomShape;
use crate::domain::ids::{BuyerId, ItemNo, SaleId};
use crate::domain::sale::Sale;

/// Errands that wait; above it they are dropped.
const QUEUE: usize = 16_384;
/// Errands that are done together.
const BATCH: usize = 256;
/// Items that one call tells of: a longer one would hold up everybody else.
const ITEMS_A_CALL: usize = 500;

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

    pub(crate) fn release(&self, lease: Lease) {
        self.send(Errand::Release(lease));
    }

    pub(crate) fn standing(&self, known: KnownStanding) {
        self.send(Errand::Standing(known));
    }

    pub(crate) fn stock(&self, sale: &Arc<Sale>, facts: StockFacts) {
        self.send(Errand::Stock(Arc::clone(sale), facts));
    }

    pub(crate) fn news(&self, sale: SaleId, facts: &StockFacts) {
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

/// All errands of one sale in a batch: a call for each kind, whatever their number.
#[derive(Default)]
struct Bundle {
    leases: Vec<Lease>,
    standings: Vec<KnownStanding>,
    stock: Option<(Arc<Sale>, StockFacts)>,
    news: StockFacts,
}

async fn deliver(redis: &Redis, batch: Vec<Errand>) {
    let mut bundles: HashMap<SaleId, Bundle> = HashMap::new();
    for errand in batch {
        match errand {
            Errand::Release(lease) => bundles.entry(lease.sale).or_default().leases.push(lease),
            Errand::Standing(known) => {
                bundles.entry(known.sale.id).or_default().standings.push(known);
            }
            Errand::Stock(sale, facts) => {
                bundles.entry(sale.id).or_default().add_stock(sale, facts);
            }
            Errand::News(sale, facts) => bundles.entry(sale).or_default().add_news(facts),
        }
    }
    // A failure is told once, by the circuit; each errand heals by itself.
    for (sale, bundle) in bundles {
        let Bundle { leases, standings, stock, news } = bundle;
        // All at once: they share a write to the connection, and nothing waits for anything else.
        tokio::join!(
            async {
                if !leases.is_empty() {
                    release(redis, &leases).await;
                }
            },
            async {
                if !news.sold_out.is_empty() {
                    news::publish(redis, sale, &news).await;
                }
            },
            async {
                if let Some((sale, facts)) = &stock {
                    remember_stock(redis, sale, facts).await;
                }
            },
            async {
                if let Some(known) = standings.first() {
                    remember_standings(redis, &known.sale, &standings).await;
                }
            },
        );
    }
}

impl Bundle {
    /// The facts of the newest generation; those of an older one say nothing any more.
    fn add_stock(&mut self, sale: Arc<Sale>, facts: StockFacts) {
        match &mut self.stock {
            Some((known, all)) if known.generation == sale.generation => merge(all, facts),
            Some((known, _)) if known.generation > sale.generation => {}
            _ => self.stock = Some((sale, facts)),
        }
    }

    fn add_news(&mut self, facts: StockFacts) {
        if self.news.sold_out.is_empty() || self.news.generation < facts.generation {
            self.news = facts;
        } else if self.news.generation == facts.generation {
            merge(&mut self.news, facts);
        }
    }
}

fn merge(all: &mut StockFacts, facts: StockFacts) {
    all.sold_out.extend(facts.sold_out);
    all.sold.extend(facts.sold);
}

async fn release(redis: &Redis, leases: &[Lease]) {
    let mut call = redis.scripts().lock_release.prepare_invoke();
    for lease in leases {
        call.key(redis.keys().lock(lease.sale, lease.attempt)).arg(&lease.owner);
    }
    invoke(redis, "the release of locks", call).await;
}

async fn remember_standings(redis: &Redis, sale: &Sale, standings: &[KnownStanding]) {
    // A buyer may have come twice: the newest counts.
    let mut newest: HashMap<&BuyerId, &KnownStanding> = HashMap::with_capacity(standings.len());
    for known in standings {
        let standing = newest.entry(&known.buyer).or_insert(known);
        if standing.version < known.version {
            *standing = known;
        }
    }
    let mut call = redis.scripts().standings_remember.prepare_invoke();
    call.arg(redis.keys().expire_at(sale));
    for (buyer, known) in newest {
        call.key(redis.keys().standing(sale.id, buyer)).arg(standing::write(known));
    }
    invoke(redis, "the standings", call).await;
}

/// Tells the shared memory what was sold, in calls that hold nobody up.
pub(crate) async fn remember_stock(redis: &Redis, sale: &Sale, facts: &StockFacts) {
    if facts.generation != sale.generation {
        return;
    }
    let mut sold_out = facts.sold_out.chunks(ITEMS_A_CALL);
    let mut sold = facts.sold.chunks(ITEMS_A_CALL);
    loop {
        let (sold, sold_out) = (sold.next(), sold_out.next());
        if sold.is_none() && sold_out.is_none() {
            return;
        }
        let (sold, sold_out) = (sold.unwrap_or_default(), sold_out.unwrap_or_default());
        remember_items(redis, sale, sold, sold_out).await;
    }
}

async fn remember_items(redis: &Redis, sale: &Sale, sold: &[(ItemNo, i32)], sold_out: &[ItemNo]) {
    let keys = redis.keys().filter(sale);
    let mut call = redis.scripts().stock_remember.prepare_invoke();
    call.key(keys.filter).key(&keys.slots[0]).key(&keys.slots[1]).key(keys.totals);
    call.arg(redis.keys().expire_at(sale)).arg(sold.len());
    for (item, sold) in sold {
        call.arg(item.0).arg(*sold);
    }
    let shape = BloomShape::for_items(sale.items);
    for place in sold_out.iter().flat_map(|item| shape.positions(*item)) {
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
