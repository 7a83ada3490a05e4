//! How long a death is felt. Times are looked at here and nowhere else: `make chaos` has the machine for itself.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::arena::Arena;
use super::checker::{books, check};
use super::crowd::{Crowd, Shop};
use super::history::{Event, History, Verdict};
use super::manner::Manner;
use super::shop;

/// What is normal is taken from so long a time.
const NORMAL: Duration = Duration::from_secs(5);
/// Redis is away for so long.
const AWAY: Duration = Duration::from_secs(30);
/// Buyers at a time.
const BUYERS: usize = 24;
/// Pieces of each item: nothing sells out.
const STOCK: usize = 100_000;

/// PostgreSQL is away for so long.
const AWAY_FROM_ALL: Duration = Duration::from_secs(10);

/// Buyers without pauses, for whom nothing is sold out.
async fn rush(arena: &Arena) -> (Shop, Crowd) {
    let history = History::begin();
    let shop = Shop { pause: Duration::ZERO, ..shop(arena, STOCK, &history).await };
    let crowd = Crowd::gather(&shop, 1, BUYERS);
    // Instances warm up.
    tokio::time::sleep(NORMAL).await;
    (shop, crowd)
}

/// Events of patient callers that ended between two times.
fn between(history: &History, from: Duration, to: Duration) -> Vec<Event> {
    let mut events = history.so_far();
    events.retain(|event| {
        from <= event.ended_at && event.ended_at < to && event.manner == Manner::Patient
    });
    events
}

/// Good answers a second.
fn rate(history: &History, from: Duration, to: Duration) -> f64 {
    let events = between(history, from, to);
    let good = events.iter().filter(|event| event.verdict() != Verdict::Failed).count();
    f64::from(u32::try_from(good).unwrap()) / to.saturating_sub(from).as_secs_f64()
}

/// Of the good answers.
fn p99_of_good(mut events: Vec<Event>) -> Duration {
    events.retain(|event| event.verdict() != Verdict::Failed);
    p99(&events)
}

fn p99(events: &[Event]) -> Duration {
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
    arena.redis.tell("kill-redis");
    tokio::time::sleep(AWAY).await;
    let back_at = history.now();
    arena.redis.tell("start-redis");
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
async fn a_killed_instance_is_felt_by_its_own_callers_alone() {
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
            arena.postgres.tell(verb);
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

/// Times while PostgreSQL is away and after it. Whoever asks once that is known is told at once.
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
    // Also those that got no answer, with the time that they waited for one.
    let waited = p99(&late);
    let unanswered = late.iter().filter(|event| event.told.is_none()).count();
    let sold = between(history, back_at, Duration::MAX)
        .into_iter()
        .filter(|event| event.sent_at >= back_at && event.verdict() == Verdict::Acknowledged);
    let again = sold.map(|event| event.ended_at).min().unwrap().saturating_sub(back_at);
    eprintln!(
        "figure: {what} for {AWAY_FROM_ALL:?}: of {} requests after {known_after:?} {unanswered} got no answer, p99 \
         {waited:?}; sells {again:?} after its return",
        late.len()
    );
    assert_eq!(unanswered, 0);
    assert!(waited <= Duration::from_millis(250) && again <= Duration::from_secs(2));
    let found = check(&history.so_far(), &books(arena.pool(), &shop.sale).await, shop.limit);
    assert!(found.are_none(), "{found}");
    assert!(!arena.run(&["verify"]).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "looks at times: run by `make chaos`"]
async fn ten_seconds_without_a_way_to_postgresql_cost_bounded_waits_and_nothing_more() {
    // What was under way when it fell silent waits for `database.statement_timeout` and a second, and the next in its queue.
    let begins = |arena: &Arena| arena.part_from_postgres(true);
    let ends = |arena: &Arena| arena.part_from_postgres(false);
    without_postgresql("postgresql out of reach", Duration::from_secs(7), begins, ends).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "looks at times: run by `make chaos`"]
async fn ten_seconds_without_postgresql_cost_a_moment_and_then_an_answer_at_once() {
    let begins = |arena: &Arena| arena.postgres.tell("kill-postgres");
    let ends = |arena: &Arena| arena.postgres.tell("start-postgres");
    without_postgresql("postgresql killed", Duration::from_millis(1500), begins, ends).await;
}
