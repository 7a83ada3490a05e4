//! Chaos: buyers use three instances while every part fails, one after the other, in an order drawn from a seed. The responses
//! are then compared with PostgreSQL's tables, without any code of the service.
//!
//! - [`fault`]: the faults. [`arena`]: the instances and servers. [`crowd`]: the buyers, [`manner`]: how they behave.
//! - [`exchange`]: requests and responses. [`history`]: all of them with their times.
//! - [`neighbours`]: others who use the same servers. [`listener`]: hears of every purchase. [`returns`]: takes purchases back.
//!   [`growth`]: a replica, a Redis Cluster and a pooler, for a run of their own.
//! - [`checker`]: finds broken promises. [`report`]: the cost of each fault.
//! - [`rolling`]: a rolling restart. [`figures`]: how long a fault affects buyers. [`soak`]: resources after ten minutes of faults.
//!
//! Every test run includes two seeds; `make chaos` runs more, measures times too, and prints the table (docs/reliability.md).

mod arena;
mod checker;
mod crowd;
mod exchange;
mod fault;
mod figures;
mod growth;
mod history;
mod listener;
mod manner;
mod neighbours;
mod report;
mod returns;
mod rolling;
mod soak;

use std::path::PathBuf;
use std::time::Duration;

use arena::{Arena, INSTANCES};
use checker::{Findings, books, check};
use crowd::{Crowd, Shop};
use fault::{Fault, Lengths, Strike, schedule, schedule_of};
use history::History;
use report::{Report, Round};
use returns::Operator;

use crate::harness::servers::is_pooler_installed;
use crate::harness::until;

/// Items of the sale.
const ITEMS: usize = 300;
const LIMIT: i64 = 10;
/// Concurrent buyers.
const BUYERS: usize = 24;
/// Good responses of an instance that show that it sells again.
const ANSWERS: usize = 5;
/// The rate after a fault is measured for this long.
const PIECE: Duration = Duration::from_millis(500);

/// How much a run asks of the machine.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Pause of a buyer's place between two visits.
    pause: Duration,
    /// Pieces of each item for every fault: more than the buyers of a run can buy in all, and so few that popular items sell out.
    stock_each: usize,
    /// The rate before a fault is measured for this long.
    before: Duration,
    /// The rate that ends a round, in tenths of the rate before.
    tenths: u128,
    lengths: Lengths,
}

/// Among other tests, on a machine that other programs may take most of at any moment: all faults within a minute or two.
const SHARED: Pace = {
    let short = (Duration::from_millis(800), Duration::from_millis(1800));
    Pace {
        pause: Duration::from_millis(250),
        stock_each: 2,
        before: Duration::from_millis(300),
        tenths: 1,
        lengths: Lengths { usual: short, outlasting: short },
    }
};
/// `make chaos` has the machine for itself.
const FULL: Pace = Pace {
    pause: Duration::from_millis(100),
    stock_each: 8,
    before: Duration::from_secs(1),
    tenths: 7,
    lengths: LONG,
};
/// Longer than the circuits' recovery time.
const LONG: Lengths = Lengths {
    usual: (Duration::from_secs(2), Duration::from_secs(4)),
    outlasting: (Duration::from_secs(7), Duration::from_secs(10)),
};

#[tokio::test(flavor = "multi_thread")]
async fn every_part_dies_in_turn_and_nothing_is_lost() {
    run(1, SHARED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_part_dies_in_another_order_and_nothing_is_lost() {
    run(2, SHARED).await;
}

/// What could keep a piece that has returned from being sold, or sell it twice.
const RETURNS_UNDER: [Fault; 7] = [
    Fault::RedisKilled,
    Fault::RedisPaused,
    Fault::NewsForged,
    Fault::PostgresCrashed,
    Fault::SessionsCut,
    Fault::InstanceKilled,
    Fault::WayStalled,
];

#[tokio::test(flavor = "multi_thread")]
async fn purchases_are_taken_back_while_parts_die_and_each_piece_is_sold_once() {
    let mut strikes = schedule(3, SHARED.lengths);
    strikes.retain(|strike| RETURNS_UNDER.contains(&strike.fault));
    let mut arena = Arena::with(&[arena::SHORT_LEASE]).await;
    let history = History::begin();
    let operator = Operator::begin(arena.direct.clone(), &history, 3);

    let report = strike_all((3, SHARED), strikes, &mut arena, (&history, Some(operator))).await;

    let returns = history.returns();
    let pieces: i64 = returns.iter().flat_map(|taken| &taken.lines).map(|(_, pieces)| pieces).sum();
    assert!(returns.len() >= 10 && pieces >= 10, "few purchases were taken back: {returns:?}");
    eprintln!("chaos: {} purchases of {pieces} pieces were taken back\n{report}", returns.len());
}

#[test]
fn a_seed_gives_the_same_schedule_again_and_another_seed_another_one() {
    let drawn = || schedule(7, LONG);
    assert_eq!(drawn(), drawn());
    assert_ne!(drawn(), schedule(8, LONG));
}

/// `make chaos`: `SEED` is the first seed, `ROUNDS` the number of seeds.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes long: run by `make chaos`"]
async fn many_seeds() {
    let mut all = Report::default();
    let first = number("SEED", 1);
    for seed in first..first + number("ROUNDS", 20) {
        eprintln!("chaos: seed {seed}");
        all.merge(run(seed, FULL).await);
        eprintln!("{all}");
    }
}

/// As many seeds, each of fewer faults.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes long: run by `make chaos`"]
async fn a_replica_a_master_of_the_cluster_and_the_pooler_die_in_turn() {
    if !is_pooler_installed() {
        eprintln!("chaos: PgBouncer is not installed, so nothing of a grown installation dies");
        return;
    }
    let mut all = Report::default();
    let first = number("SEED", 1);
    for seed in first..first + number("ROUNDS", 20) {
        eprintln!("chaos: seed {seed}, on a Redis Cluster, with a replica, behind a pooler");
        let strikes = schedule_of(Fault::OF_GROWTH.to_vec(), seed, FULL.lengths);
        all.merge(run_in(Arena::grown().await, strikes, (seed, FULL)).await);
        eprintln!("{all}");
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var_os(name).map_or(default, |value| value.to_str().unwrap().parse().unwrap())
}

/// Runs all faults of a schedule.
async fn run(seed: u64, pace: Pace) -> Report {
    run_in(Arena::open().await, schedule(seed, pace.lengths), (seed, pace)).await
}

/// Runs faults, then sells the rest of the stock. Fails the test if a promise was broken.
async fn run_in(mut arena: Arena, strikes: Vec<Strike>, (seed, pace): (u64, Pace)) -> Report {
    let history = History::begin();
    let report = strike_all((seed, pace), strikes, &mut arena, (&history, None)).await;
    if let Some(listener) = &arena.listener {
        listener.heard_everything(arena.pool(), !history.losses().is_empty()).await;
    }
    report
}

/// Runs these faults, beside an operator who takes purchases back, if there is one.
async fn strike_all(
    (seed, pace): (u64, Pace),
    strikes: Vec<Strike>,
    arena: &mut Arena,
    (history, operator): (&History, Option<Operator>),
) -> Report {
    let shop = shop(arena, pace.stock_each * strikes.len(), history).await;
    let shop = Shop { pause: pace.pause, ..shop };
    let crowd = Crowd::gather(&shop, seed, BUYERS);
    let mut report = Report::default();
    for strike in strikes {
        let round = round(strike, arena, &shop, pace).await;
        assert!(round.found.are_none(), "{}", complaint(seed, strike, &round.found, history));
        report.add(strike.fault, round);
        if let Some(operator) = &operator {
            operator.uses(arena.direct.clone());
        }
    }
    crowd.disperse().await;
    if let Some(operator) = operator {
        operator.leave().await;
    }
    let sold_out_in = shop.sell_out().await;
    let (told, books) = (history.told(), books(arena.pool(), &shop.sale).await);
    let found = check(&told, &books, LIMIT);
    assert!(found.are_none(), "seed {seed}, at the end: {found}");
    assert_eq!(books.left(), 0, "seed {seed}: not everything could be sold");
    arena.verify().await;
    eprintln!(
        "chaos: seed {seed}, {} requests, the rest sold in {sold_out_in:.1?}\n{report}",
        told.events.len()
    );
    report
}

/// A long sale of [`ITEMS`] with this many pieces each, for buyers without pauses.
async fn shop(arena: &Arena, stock: usize, history: &History) -> Shop {
    shop_for(arena, stock, "1h", history).await
}

async fn shop_for(arena: &Arena, stock: usize, lasts: &str, history: &History) -> Shop {
    let (items, limit) = (ITEMS.to_string(), LIMIT.to_string());
    let stock = stock.to_string();
    let pieces = ["--items", &items, "--stock", &stock, "--buyer-limit", &limit];
    let sale = arena.create_sale(&[&pieces[..], &["--duration", lasts]].concat()).await;
    Shop {
        clients: arena.clients(),
        sale,
        items: ITEMS,
        limit: LIMIT,
        pause: Duration::ZERO,
        history: history.clone(),
    }
}

/// Runs a fault, waits until the service has recovered, and looks for broken promises.
async fn round(strike: Strike, arena: &mut Arena, shop: &Shop, pace: Pace) -> Round {
    let history = &shop.history;
    sells_everywhere(history).await;
    tokio::time::sleep(pace.before).await;
    let struck_at = history.now();
    let before = history.answered_since(struck_at.saturating_sub(pace.before));

    let injected = strike.begin(arena, history).await;
    tokio::time::sleep(strike.lasts).await;
    strike.end(arena, injected, history).await;

    let ended_at = history.now();
    sells_everywhere(history).await;
    until("it sells at the wanted rate again", async || {
        let after = history.answered_since(history.now().saturating_sub(PIECE));
        after as u128 * pace.before.as_millis() * 10
            >= before as u128 * PIECE.as_millis() * pace.tenths
    })
    .await;
    let recovered_at = history.now();
    let (told, books) = (history.told(), books(arena.pool(), &shop.sale).await);
    let mut round = Round::of(&told.events, (struck_at, recovered_at));
    round.to_full_speed = recovered_at.saturating_sub(ended_at + PIECE);
    round.found = check(&told, &books, LIMIT);
    round
}

/// Waits until each instance has given good responses from now on.
async fn sells_everywhere(history: &History) {
    let since = history.now();
    until("all instances sell", async || {
        (0..INSTANCES).all(|instance| history.good_answers_of(instance, since) >= ANSWERS)
    })
    .await;
}

/// The findings, and where the whole history is.
fn complaint(seed: u64, strike: Strike, found: &Findings, history: &History) -> String {
    let kept = std::env::var_os("CHAOS_HISTORY").map_or_else(std::env::temp_dir, PathBuf::from);
    let file = kept.join(format!("chaos-{seed}.jsonl"));
    std::fs::write(&file, history.to_string()).unwrap();
    format!("seed {seed}, {strike:?}: {found}; the history is in {}", file.display())
}
