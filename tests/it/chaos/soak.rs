//! Ten minutes at half load with a fault every twenty seconds. Between the sales, without load, the service must not hold more
//! resources than before.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::arena::{Arena, INSTANCES, SHORT_LEASE};
use super::checker::{books, check};
use super::crowd::{Crowd, Shop};
use super::fault::{Strike, schedule};
use super::history::History;
use super::{BUYERS, LIMIT, LONG, sells_everywhere, shop_for};
use crate::harness::metrics::Metrics;
use crate::harness::until;

/// Sales, one after the other.
const SALES: usize = 10;
/// Faults in each sale.
const STRIKES: usize = 3;
/// Interval between two faults.
const EVERY: Duration = Duration::from_secs(20);
/// A sale is longer than its faults, and than the last buyers need for their final responses.
const LASTS: &str = "75s";
/// The first sale is longer than the measurement of the full load.
const TRIAL_LASTS: &str = "15s";
/// The keys of a sale expire soon after its end.
const KEPT: (&str, &str) = ("redis.keep_after_sale", "1s");
/// Pieces of each item: nothing sells out.
const STOCK: usize = 100_000;
/// The full load, of buyers without pauses, is measured for this long.
const FULL: Duration = Duration::from_secs(5);
/// Connections of an instance: its pool and the probe's.
const CONNECTIONS: u8 = 10 + 1;
/// Memory may grow by a tenth and this many bytes, because the allocator returns it at its discretion.
const MEMORY: f64 = 16.0 * 1024.0 * 1024.0;
/// Keys of leases.
const LEADERS: i64 = 2;
/// Descriptors and tasks that may be in use for something else, beside the pool.
const FEW: f64 = 8.0;

/// Resources without load.
#[derive(Debug, Clone, Copy)]
struct Kept {
    /// Of the first instance, which is never restarted.
    memory: f64,
    descriptors: f64,
    tasks: f64,
    /// Of all instances, to PostgreSQL.
    connections: i64,
    /// Keys in Redis.
    keys: i64,
}

impl Kept {
    async fn by(arena: &Arena) -> Self {
        let answer = arena.stations[0].instance.monitor.get("/metrics").await.is(200);
        let metrics = Metrics::parse(&answer.body);
        let sessions =
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'flash-sale'";
        Self {
            memory: metrics.sum("process_resident_memory_bytes", &[]),
            descriptors: metrics.sum("process_open_fds", &[]),
            tasks: metrics.sum("flash_sale_tasks", &[]),
            connections: sqlx::query_scalar(sessions).fetch_one(arena.pool()).await.unwrap(),
            keys: keys(arena).await,
        }
    }

    /// Whether they have not grown.
    fn is_flat_since(self, before: Self) -> bool {
        self.memory <= before.memory * 1.1 + MEMORY
            && self.descriptors <= before.descriptors + FEW + f64::from(CONNECTIONS)
            && self.tasks <= before.tasks + FEW
            && self.connections <= i64::from(CONNECTIONS) * i64::try_from(INSTANCES).unwrap()
            && self.keys <= before.keys + LEADERS
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory, descriptors, tasks, connections, keys } = self;
        let memory = memory / 1024.0 / 1024.0;
        write!(f, "| {memory:.1} | {descriptors} | {connections} | {tasks} | {keys} |")
    }
}

async fn keys(arena: &Arena) -> i64 {
    redis::cmd("DBSIZE").query_async(&mut arena.redis().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes long: run by `make chaos`"]
async fn ten_minutes_of_faults_at_half_load_leave_nothing_behind() {
    let mut arena = Arena::with(&[SHORT_LEASE, KEPT]).await;
    let at_rest = keys(&arena).await;
    let pause = half_load(&arena).await;
    sale_is_forgotten(&arena, at_rest).await;
    let begin = Kept::by(&arena).await;
    eprintln!("| sale | requests | MiB | descriptors | connections | tasks | keys |");
    eprintln!("|---|---|---|---|---|---|---|");
    eprintln!("| before | {begin}");
    let mut strikes = (1..).flat_map(|seed| schedule(seed, LONG)).map(Strike::sparing_the_first);
    let mut first = None;
    for sale in 1..=SALES {
        let mine: Vec<_> = strikes.by_ref().take(STRIKES).collect();
        let requests = one_sale(&mut arena, pause, &mine, sale).await;
        sale_is_forgotten(&arena, at_rest).await;
        let kept = Kept::by(&arena).await;
        eprintln!("| {sale} | {requests} {kept}");
        let first = *first.get_or_insert(kept);
        assert!(kept.is_flat_since(first), "it was {first:?}, and is {kept:?}");
    }
    arena.verify().await;
}

/// The pause after each visit that halves the load.
async fn half_load(arena: &Arena) -> Duration {
    let shop = open(arena, TRIAL_LASTS).await;
    let crowd = Crowd::gather(&shop, 0, BUYERS);
    sells_everywhere(&shop.history).await;
    let (since, before) = (Instant::now(), crowd.visits());
    tokio::time::sleep(FULL).await;
    let visits = u32::try_from(crowd.visits() - before).unwrap();
    let one_visit = since.elapsed() * u32::try_from(BUYERS).unwrap() / visits;
    crowd.disperse().await;
    one_visit
}

/// One sale with these faults, one after the other. Fails the test if a promise was broken. Returns the number of requests.
async fn one_sale(arena: &mut Arena, pause: Duration, strikes: &[Strike], number: usize) -> usize {
    let shop = Shop { pause, ..open(arena, LASTS).await };
    let crowd = Crowd::gather(&shop, number as u64, BUYERS);
    for strike in strikes {
        let struck_at = Instant::now();
        let injected = strike.begin(arena, &shop.history).await;
        tokio::time::sleep(strike.lasts).await;
        strike.end(arena, injected, &shop.history).await;
        tokio::time::sleep_until(struck_at + EVERY).await;
        sells_everywhere(&shop.history).await;
    }
    crowd.disperse().await;
    let (told, books) = (shop.history.told(), books(arena.pool(), &shop.sale).await);
    let found = check(&told, &books, LIMIT);
    assert!(found.are_none(), "sale {number}, {strikes:?}: {found}");
    told.events.len()
}

async fn open(arena: &Arena, lasts: &str) -> Shop {
    shop_for(arena, STOCK, lasts, &History::begin()).await
}

/// Waits until the sale has ended and its keys have expired.
async fn sale_is_forgotten(arena: &Arena, at_rest: i64) {
    let left = "SELECT greatest(0, extract(epoch FROM max(ends_at) - now()))::float8 FROM sales";
    let left: f64 = sqlx::query_scalar(left).fetch_one(arena.pool()).await.unwrap();
    tokio::time::sleep(Duration::from_secs_f64(left)).await;
    until("the keys of the sale have expired", async || keys(arena).await <= at_rest + LEADERS)
        .await;
}
