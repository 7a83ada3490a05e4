//! Chaos: buyers run against three instances while every part dies, one after the other, as a seed says. What the clients
//! were told is then held against PostgreSQL's tables, without any code of the service.
//!
//! - [`fault`]: what can strike. [`arena`]: whom. [`crowd`]: buyers, [`manner`]: how they behave. [`history`]: what
//!   they were told.
//! - [`checker`]: what must not be. [`report`]: what each fault cost.
//! - [`rolling`]: a restart that nobody notices.
//! - [`figures`]: how long a death is felt. [`soak`]: what is left behind after ten minutes of it.
//!
//! Two seeds belong to every test run; `make chaos` runs more, looks at the times too, and prints the table
//! (docs/reliability.md).

mod arena;
mod checker;
mod crowd;
mod fault;
mod figures;
mod history;
mod manner;
mod report;
mod rolling;
mod soak;

use std::path::PathBuf;
use std::time::Duration;

use arena::{Arena, INSTANCES};
use checker::{Findings, books, check};
use crowd::{Crowd, Shop};
use fault::{Lengths, Strike, schedule};
use history::History;
use report::{Report, Round};

use crate::harness::until;

/// Items of a sale.
const ITEMS: usize = 300;
/// Pieces of each for every fault: more than the buyers of a run can buy, and few enough of the wanted ones.
const STOCK_EACH: usize = 8;
const LIMIT: i64 = 10;
/// Buyers at a time.
const BUYERS: usize = 24;
/// Between two visits to a place.
const PAUSE: Duration = Duration::from_millis(100);
/// Good answers of each instance that show that it sells again.
const ANSWERS: usize = 5;
/// The rate before a strike is taken from so long a time.
const BEFORE: Duration = Duration::from_secs(1);
/// Full speed is seven tenths of that, in half of the time.
const PIECE: Duration = Duration::from_millis(500);
/// What is left must be sold within this time; a machine that is busy with other tests has some.
const SELL_OUT: Duration = Duration::from_secs(50);

/// Long enough to be noticed, and all of them within a minute or two.
const SHORT: Lengths = {
    let short = (Duration::from_millis(800), Duration::from_millis(1800));
    Lengths { usual: short, outlasting: short }
};
/// Longer than the circuits' recovery lasts.
const LONG: Lengths = Lengths {
    usual: (Duration::from_secs(2), Duration::from_secs(4)),
    outlasting: (Duration::from_secs(7), Duration::from_secs(10)),
};

#[tokio::test(flavor = "multi_thread")]
async fn every_part_dies_in_turn_and_nothing_is_lost() {
    run(1, &schedule(1, SHORT)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_part_dies_in_another_order_and_nothing_is_lost() {
    run(2, &schedule(2, SHORT)).await;
}

#[test]
fn a_seed_gives_the_same_schedule_again_and_another_seed_another_one() {
    let drawn = || schedule(7, LONG);
    assert_eq!(drawn(), drawn());
    assert_ne!(drawn(), schedule(8, LONG));
}

/// `make chaos`: `SEED` is the first seed, `ROUNDS` how many follow.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes long: run by `make chaos`"]
async fn many_seeds() {
    let number = |name: &str, default: u64| {
        std::env::var_os(name).map_or(default, |value| value.to_str().unwrap().parse().unwrap())
    };
    let mut all = Report::default();
    let first = number("SEED", 1);
    for seed in first..first + number("ROUNDS", 20) {
        eprintln!("chaos: seed {seed}");
        all.merge(run(seed, &schedule(seed, LONG)).await);
        eprintln!("{all}");
    }
}

/// All strikes of a schedule, then the rest of the stock. Fails where a promise was broken.
async fn run(seed: u64, strikes: &[Strike]) -> Report {
    let mut arena = Arena::open().await;
    let history = History::begin();
    let shop = shop(&arena, STOCK_EACH * strikes.len(), &history).await;
    let crowd = Crowd::gather(&shop, seed, BUYERS);
    let mut report = Report::default();
    for strike in strikes {
        let round = round(*strike, &mut arena, &shop).await;
        assert!(round.found.are_none(), "{}", complaint(seed, *strike, &round.found, &history));
        report.add(strike.fault, round);
    }
    crowd.disperse().await;
    let sold_out_in = shop.sell_out(SELL_OUT).await;
    let (events, books) = (history.so_far(), books(arena.pool(), &shop.sale).await);
    let found = check(&events, &books, LIMIT);
    assert!(found.are_none(), "seed {seed}, at the end: {found}");
    assert_eq!(books.left(), 0, "seed {seed}: not everything could be sold");
    assert!(!arena.run(&["verify"]).await.is_empty());
    eprintln!(
        "chaos: seed {seed}, {} requests, the rest sold in {sold_out_in:.1?}\n{report}",
        events.len()
    );
    report
}

/// A sale of [`ITEMS`] with so many pieces each, which lasts long.
async fn shop(arena: &Arena, stock: usize, history: &History) -> Shop {
    shop_for(arena, stock, "1h", history).await
}

async fn shop_for(arena: &Arena, stock: usize, lasts: &str, history: &History) -> Shop {
    let (items, limit) = (ITEMS.to_string(), LIMIT.to_string());
    let stock = stock.to_string();
    let pieces = ["--items", &items, "--stock", &stock, "--buyer-limit", &limit];
    let sale = arena.create_sale(&[&pieces[..], &["--duration", lasts]].concat()).await;
    Shop {
        doors: arena.doors(),
        sale,
        items: ITEMS,
        limit: LIMIT,
        pause: PAUSE,
        history: history.clone(),
    }
}

/// Strikes, waits until all is well again, and looks for what must not be.
async fn round(strike: Strike, arena: &mut Arena, shop: &Shop) -> Round {
    let history = &shop.history;
    sells_everywhere(history).await;
    tokio::time::sleep(BEFORE).await;
    let struck_at = history.now();
    let before = history.answered_since(struck_at.saturating_sub(BEFORE));

    let wound = strike.begin(arena).await;
    tokio::time::sleep(strike.lasts).await;
    strike.end(arena, wound).await;

    let ended_at = history.now();
    sells_everywhere(history).await;
    until("it sells at full speed again", async || {
        history.answered_since(history.now().saturating_sub(PIECE)) >= before * 7 / 20
    })
    .await;
    let well_at = history.now();
    let events = history.so_far();
    let books = books(arena.pool(), &shop.sale).await;
    let mut round = Round::of(&events, (struck_at, well_at));
    round.to_full_speed = well_at.saturating_sub(ended_at + PIECE);
    round.found = check(&events, &books, LIMIT);
    round
}

/// Waits until each instance has given good answers from now on.
async fn sells_everywhere(history: &History) {
    let since = history.now();
    until("all instances sell", async || {
        (0..INSTANCES).all(|instance| history.good_answers_of(instance, since) >= ANSWERS)
    })
    .await;
}

/// What was found, and where the whole history is.
fn complaint(seed: u64, strike: Strike, found: &Findings, history: &History) -> String {
    let kept = std::env::var_os("CHAOS_HISTORY").map_or_else(std::env::temp_dir, PathBuf::from);
    let file = kept.join(format!("chaos-{seed}.jsonl"));
    std::fs::write(&file, history.to_string()).unwrap();
    format!("seed {seed}, {strike:?}: {found}; the history is in {}", file.display())
}
