//! How long a fault affects buyers. Only these tests measure times, because `make chaos` has the machine for itself.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::arena::Arena;
use super::checker::{books, check};
use super::crowd::{Crowd, Shop};
use super::exchange::Verdict;
use super::history::{Event, History};
use super::manner::Manner;
use super::shop;

/// The normal rate is measured for this long.
const NORMAL: Duration = Duration::from_secs(5);
/// Redis is away for this long.
const AWAY: Duration = Duration::from_secs(30);
/// Concurrent buyers.
const BUYERS: usize = 24;
/// Pieces of each item: nothing sells out.
const STOCK: usize = 100_000;
/// PostgreSQL is away for this long.
const AWAY_FROM_ALL: Duration = Duration::from_secs(10);

/// Starts buyers without pauses, in a sale that does not sell out.
async fn rush(arena: &Arena) -> (Shop, Crowd) {
    let history = History::begin();
    let shop = shop(arena, STOCK, &history).await;
    let crowd = Crowd::gather(&shop, 1, BUYERS);
    // The instances warm up.
    tokio::time::sleep(NORMAL).await;
    (shop, crowd)
}

/// Events of patient clients that ended between two times.
fn between(history: &History, from: Duration, to: Duration) -> Vec<Arc<Event>> {
    let mut events = history.so_far();
    events.retain(|event| {
        from <= event.ended_at && event.ended_at < to && event.manner == Manner::Patient
    });
    events
}

/// Good responses a second.
fn rate(history: &History, from: Duration, to: Duration) -> f64 {
    let events = between(history, from, to);
    let good = events.iter().filter(|event| event.verdict() != Verdict::Failed).count();
    f64::from(u32::try_from(good).unwrap()) / to.saturating_sub(from).as_secs_f64()
}

/// Of the good responses.
fn p99_of_good(mut events: Vec<Arc<Event>>) -> Duration {
    events.retain(|event| event.verdict() != Verdict::Failed);
    p99(&events)
}

fn p99(events: &[Arc<Event>]) -> Duration {
    let mut times: Vec<_> =
        events.iter().map(|event| event.ended_at.saturating_sub(event.sent_at)).collect();
    times.sort_unstable();
    times.get(times.len() * 99 / 100).copied().unwrap_or(Duration::MAX)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "looks at times: run by `make chaos`"]
async fn half_a_minute_without_redis_costs_at_most_half_of_the_speed() {
    let arena = Arena::open().await;
    let (shop, crowd) = rush(&arena).await;
    let history = &shop.history;
    let normal_from = history.now();
    tokio::time::sleep(NORMAL).await;
    let killed_at = history.now();
    arena.redis.run("kill-redis");
    tokio::time::sleep(AWAY).await;
    let back_at = history.now();
    arena.redis.run("start-redis");
    tokio::time::sleep(NORMAL * 2).await;
    let end = history.now();
    crowd.disperse().await;

    let normal = rate(history, normal_from, killed_at);
    let without = rate(history, killed_at, back_at);
    let late = between(history, killed_at + Duration::from_secs(1), back_at);
    let failed: Vec<_> =
        late.iter().filter(|event| event.verdict() == Verdict::Failed).take(3).collect();
    let again = rate(history, back_at + NORMAL, end);
    eprintln!(
        "figure: redis killed for {AWAY:?}: {normal:.0}/s before, {without:.0}/s without it, {again:.0}/s from 5 s after \
         its return; {} failed after the first second",
        failed.len()
    );
    assert!(failed.is_empty(), "{failed:?}");
    assert!(without >= normal / 2.0 && again >= normal * 0.9);
    assert!(!arena.run(&["verify"]).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "looks at times: run by `make chaos`"]
async fn a_killed_instance_affects_only_its_own_clients() {
    let mut arena = Arena::open().await;
    let (shop, crowd) = rush(&arena).await;
    let history = &shop.history;
    let normal_from = history.now();
    tokio::time::sleep(NORMAL).await;
    let killed_at = history.now();
    arena.stations[0].end(Signal::SIGKILL).await;
    tokio::time::sleep(NORMAL).await;
    let end = history.now();
    arena.stations[0].start_again(&[]).await;
    crowd.disperse().await;

    let others = |from, to| {
        let mut events = between(history, from, to);
        events.retain(|event| event.instance != 0);
        events
    };
    let normal = p99_of_good(others(normal_from, killed_at));
    let then = p99_of_good(others(killed_at + Duration::from_secs(1), end));
    let failed: Vec<_> = others(killed_at, end)
        .into_iter()
        .filter(|event| event.verdict() == Verdict::Failed)
        .take(3)
        .collect();
    eprintln!(
        "figure: one of three killed: p99 of the others {normal:?} before, {then:?} from 1 s after; {} of theirs failed",
        failed.len()
    );
    assert!(failed.is_empty(), "{failed:?}");
    assert!(then <= normal * 3 / 2 + Duration::from_millis(5));
    assert!(!arena.run(&["verify"]).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "looks at times: run by `make chaos`"]
async fn postgresql_sells_again_two_seconds_after_it_takes_connections() {
    let arena = Arena::open().await;
    let (shop, crowd) = rush(&arena).await;
    let history = &shop.history;
    let mut longest = Duration::ZERO;
    for restart in [&["restart-postgres"][..], &["kill-postgres", "start-postgres"]] {
        for verb in restart {
            arena.postgres.run(verb);
        }
        let accepts_at = history.now();
        tokio::time::sleep(NORMAL).await;
        let sold = history.so_far().into_iter().filter(|event| {
            event.sent_at >= accepts_at && event.verdict() == Verdict::Acknowledged
        });
        let first = sold.map(|event| event.ended_at).min().unwrap();
        let took = first.saturating_sub(accepts_at);
        eprintln!("figure: {restart:?}: sells {took:?} after it takes connections");
        longest = longest.max(took);
    }
    crowd.disperse().await;

    assert!(longest <= Duration::from_secs(2), "{longest:?}");
    assert!(!arena.run(&["verify"]).await.is_empty());
}

/// Measures the responses while PostgreSQL is away and after it. Once an instance knows that, it answers at once.
async fn without_postgresql(
    what: &str,
    known_after: Duration,
    begins: impl FnOnce(&Arena),
    ends: impl FnOnce(&Arena),
) {
    let arena = Arena::open().await;
    let (shop, crowd) = rush(&arena).await;
    let history = &shop.history;
    let gone_at = history.now();
    begins(&arena);
    tokio::time::sleep(AWAY_FROM_ALL).await;
    let back_at = history.now();
    ends(&arena);
    tokio::time::sleep(NORMAL).await;
    crowd.disperse().await;

    let mut late = between(history, gone_at, Duration::MAX);
    late.retain(|event| gone_at + known_after <= event.sent_at && event.sent_at < back_at);
    // Including requests without a response, with the time until the client gave up.
    let waited = p99(&late);
    let unanswered = late.iter().filter(|event| event.response.is_none()).count();
    let sold = between(history, back_at, Duration::MAX)
        .into_iter()
        .filter(|event| event.sent_at >= back_at && event.verdict() == Verdict::Acknowledged);
    let again = sold.map(|event| event.ended_at).min().unwrap().saturating_sub(back_at);
    eprintln!(
        "figure: {what} for {AWAY_FROM_ALL:?}: of {} requests after {known_after:?} {unanswered} got no response, p99 \
         {waited:?}; sells {again:?} after its return",
        late.len()
    );
    assert_eq!(unanswered, 0);
    assert!(waited <= Duration::from_millis(250) && again <= Duration::from_secs(2));
    let books = books(arena.pool(), &shop.sale).await;
    let found = check(&history.told(), &books, shop.limit);
    assert!(found.are_none(), "{found}");
    assert!(!arena.run(&["verify"]).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "looks at times: run by `make chaos`"]
async fn ten_seconds_without_a_network_to_postgresql_cost_bounded_waits_and_nothing_more() {
    // Requests in progress wait for `database.statement_timeout` and a second, and the next ones wait in their queue.
    let begins = |arena: &Arena| arena.stall_postgres(true);
    let ends = |arena: &Arena| arena.stall_postgres(false);
    without_postgresql("postgresql out of reach", Duration::from_secs(7), begins, ends).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "looks at times: run by `make chaos`"]
async fn ten_seconds_without_postgresql_cost_a_moment_and_then_an_answer_at_once() {
    let begins = |arena: &Arena| arena.postgres.run("kill-postgres");
    let ends = |arena: &Arena| arena.postgres.run("start-postgres");
    without_postgresql("postgresql killed", Duration::from_millis(1500), begins, ends).await;
}
