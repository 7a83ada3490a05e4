//! Live on fakes, and on a reader that fails.

#![cfg(test)]

use futures_util::FutureExt;

use super::*;
use crate::application::browse::BrowsePorts;
use crate::application::ports::{MockCancellationReader, MockItemReader, PortError};
use crate::domain::sale::{Sale, SaleState};
use crate::testing::builders::{sale_id, unavailable};
use crate::testing::fakes::FakePause;
use crate::testing::test_shop::TestShop;

/// More listeners than a test has.
const MANY: usize = 1_000;

/// Live on a shop, with the number of sums that it has read, and a switch that makes them fail.
struct Stage {
    test_shop: TestShop,
    live: Live,
    sums: Arc<Mutex<Vec<Vec<SaleId>>>>,
    is_away: Arc<Mutex<bool>>,
}

fn write(state: &LiveState) -> Bytes {
    let LiveFacts { state, sold, remaining } = state.facts;
    format!("{state} {sold} {remaining}").into()
}

impl Stage {
    fn with_room_for(max_listeners: usize) -> Self {
        let test_shop = TestShop::open();
        let (sums, is_away) = (Arc::<Mutex<Vec<Vec<SaleId>>>>::default(), Arc::default());
        let (shop, summed, away) = (test_shop.shop(), Arc::clone(&sums), Arc::clone(&is_away));
        let mut items = MockItemReader::new();
        items.expect_progress().returning(move |sales| {
            let is_away: &Mutex<bool> = &away;
            if *is_away.lock().unwrap() {
                return Err(unavailable());
            }
            summed.lock().unwrap().push(sales.to_vec());
            Ok(sales.iter().map(|sale| (*sale, shop.progress_of(*sale))).collect())
        });
        let browse = Browse::new(BrowsePorts {
            cancellations: Arc::new(MockCancellationReader::new()),
            sale_cache: test_shop.sale_cache(),
            sales: test_shop.shop(),
            items: Arc::new(items),
            ledger: test_shop.shop(),
            history: test_shop.shop(),
            codes: test_shop.codes(),
            pause: Arc::new(FakePause(test_shop.clock())),
            read_cache: None,
        });
        let ports = LivePorts {
            sale_cache: test_shop.sale_cache(),
            browse: Arc::new(browse),
            pause: Arc::new(FakePause(test_shop.clock())),
        };
        let live = Live::new(ports, max_listeners, write);
        Self { test_shop, live, sums, is_away }
    }

    fn open() -> Self {
        Self::with_room_for(MANY)
    }

    /// A new listener of a sale.
    async fn listens(&self, sale: &Sale, seen: Option<LiveFacts>) -> Listener {
        match self.live.follow(sale.id, seen).await.unwrap() {
            Followed::Listening(listener) => listener,
            other => panic!("{other:?}"),
        }
    }

    /// Another tick.
    async fn ticks(&self) {
        self.test_shop.clock.advance(TICK);
        self.live.tell().await.unwrap();
    }

    /// Number of queries for sums.
    fn queries(&self) -> usize {
        self.sums.lock().unwrap().len()
    }
}

/// What a listener can read now; `None` while nothing has changed.
fn told(listener: &mut Listener) -> Option<String> {
    let event = listener.next().now_or_never()?;
    Some(event.map_or("end".to_owned(), |event| String::from_utf8(event.to_vec()).unwrap()))
}

fn open(sold: i64, remaining: i64) -> LiveFacts {
    LiveFacts { state: SaleState::Open, sold, remaining }
}

#[tokio::test]
async fn a_listener_is_told_the_state_at_once_and_then_only_changes() {
    let stage = Stage::open();
    let sale = stage.test_shop.sale(3, 1).await;
    let mut listener = stage.listens(&sale, None).await;

    let first = told(&mut listener);
    stage.ticks().await;
    let unchanged = told(&mut listener);
    stage.test_shop.bought(&sale, "ann", &[1]).await;
    let before_the_tick = told(&mut listener);
    stage.ticks().await;

    assert_eq!((first.as_deref(), unchanged, before_the_tick), (Some("open 0 3"), None, None));
    assert_eq!(told(&mut listener).as_deref(), Some("open 1 2"));
    assert_eq!(told(&mut listener), None);
}

#[tokio::test]
async fn a_tick_reads_once_for_all_listeners_and_never_without_one() {
    let stage = Stage::open();
    let sales = [stage.test_shop.sale(3, 1).await, stage.test_shop.sale(5, 1).await];
    stage.ticks().await;
    assert_eq!(stage.queries(), 0);
    let mut listeners = Vec::new();
    for _ in 0..100 {
        for sale in &sales {
            listeners.push(stage.listens(sale, None).await);
        }
    }
    let joined = stage.queries();

    for _ in 0..4 {
        stage.ticks().await;
    }

    assert!(joined <= sales.len(), "{joined} queries for the first states");
    assert_eq!(stage.queries(), joined + 4);
    assert_eq!(stage.live.listeners(), listeners.len());
    drop(listeners);
    stage.ticks().await;
    assert_eq!((stage.queries(), stage.live.listeners()), (joined + 4, 0));
}

#[tokio::test]
async fn two_ticks_in_a_row_keep_their_distance() {
    let stage = Stage::open();
    let sale = stage.test_shop.sale(3, 1).await;
    let _listener = stage.listens(&sale, None).await;
    let began_at = stage.test_shop.clock.truth();

    for _ in 0..5 {
        stage.live.tell().await.unwrap();
    }

    assert!(stage.test_shop.clock.truth() - began_at >= chrono::Duration::seconds(1));
}

#[tokio::test]
async fn a_slow_listener_gets_the_newest_state_only() {
    let stage = Stage::open();
    let sale = stage.test_shop.sale(9, 1).await;
    let mut slow = stage.listens(&sale, None).await;
    assert_eq!(told(&mut slow).as_deref(), Some("open 0 9"));

    for item in 1..=5 {
        stage.test_shop.bought(&sale, "ann", &[item]).await;
        stage.ticks().await;
    }

    assert_eq!(told(&mut slow).as_deref(), Some("open 5 4"));
    assert_eq!(told(&mut slow), None);
}

#[tokio::test]
async fn a_client_that_comes_back_gets_nothing_twice() {
    let stage = Stage::open();
    let sale = stage.test_shop.sale(3, 1).await;
    let mut other = stage.listens(&sale, None).await;
    stage.ticks().await;

    let mut back = stage.listens(&sale, Some(open(0, 3))).await;
    stage.ticks().await;
    let unchanged = told(&mut back);
    stage.test_shop.bought(&sale, "ann", &[1]).await;
    stage.ticks().await;

    assert_eq!(unchanged, None);
    assert_eq!(told(&mut back).as_deref(), Some("open 1 2"));
    assert_eq!(told(&mut other).as_deref(), Some("open 1 2"));
}

#[tokio::test]
async fn a_client_that_comes_back_is_not_told_what_was_read_before() {
    let stage = Stage::open();
    let sale = stage.test_shop.sale(3, 1).await;
    let _others = stage.listens(&sale, None).await;
    stage.ticks().await;
    // Another instance has read this purchase, and told the client of it.
    stage.test_shop.bought(&sale, "ann", &[1, 2]).await;

    let mut back = stage.listens(&sale, Some(open(1, 2))).await;
    let before_the_tick = told(&mut back);
    stage.ticks().await;

    assert_eq!(before_the_tick, None);
    assert_eq!(told(&mut back).as_deref(), Some("open 2 1"));
    // It is told of a state that differs from the last it has seen, also if no other listener learns anything from that.
    let mut back = stage.listens(&sale, Some(open(0, 3))).await;
    stage.ticks().await;
    assert_eq!(told(&mut back).as_deref(), Some("open 2 1"));
}

#[tokio::test]
async fn streams_end_when_the_purchases_of_an_ended_sale_have_settled() {
    let stage = Stage::open();
    let sale = stage.test_shop.sale(3, 1).await;
    let mut listener = stage.listens(&sale, None).await;
    let attempt = stage.test_shop.attempt(&sale, "ann", &[1]).await;
    assert_eq!(told(&mut listener).as_deref(), Some("open 0 3"));

    stage.test_shop.clock.set(sale.window.ends_at() - TICK / 2);
    stage.ticks().await;
    let at_the_end = told(&mut listener);
    // One that was accepted before the end is committed after it.
    stage.test_shop.clock.set(sale.window.ends_at() - TICK / 2);
    let settle = crate::testing::builders::settle_of(sale.id, attempt);
    crate::application::ports::Ledger::settle(&*stage.test_shop.shop, settle).await.unwrap();
    stage.test_shop.clock.set(sale.window.ends_at());
    stage.ticks().await;
    let settled = told(&mut listener);
    let still_open = told(&mut listener);
    stage.test_shop.clock.set(sale.window.ends_at() + SETTLE);
    stage.ticks().await;

    assert_eq!(at_the_end.as_deref(), Some("ended 0 3"));
    assert_eq!((settled.as_deref(), still_open), (Some("ended 1 2"), None));
    assert_eq!(told(&mut listener).as_deref(), Some("end"));
    let over = stage.live.follow(sale.id, None).await.unwrap();
    let Followed::Over(last) = over else { panic!("{over:?}") };
    assert_eq!(last.facts, LiveFacts { state: SaleState::Ended, sold: 1, remaining: 2 });
}

#[tokio::test]
async fn beyond_the_limit_a_listener_is_refused_until_another_leaves() {
    let stage = Stage::with_room_for(1);
    let sale = stage.test_shop.sale(3, 1).await;
    let first = stage.listens(&sale, None).await;

    let refused = stage.live.follow(sale.id, None).await;
    drop(first);

    assert!(matches!(refused, Err(PortError::Overloaded(_))), "{refused:?}");
    stage.listens(&sale, None).await;
}

#[tokio::test]
async fn an_unknown_sale_cannot_be_followed() {
    let stage = Stage::open();

    let followed = stage.live.follow(sale_id(9), None).await.unwrap();

    assert!(matches!(followed, Followed::NotFound), "{followed:?}");
    assert_eq!(stage.live.listeners(), 0);
}

#[tokio::test]
async fn while_nothing_can_be_read_listeners_wait_and_then_go_on() {
    let stage = Stage::open();
    let sale = stage.test_shop.sale(3, 1).await;
    let mut before = stage.listens(&sale, None).await;
    assert_eq!(told(&mut before).as_deref(), Some("open 0 3"));

    *stage.is_away.lock().unwrap() = true;
    stage.test_shop.clock.advance(TICK);
    assert!(stage.live.tell().await.is_err());
    stage.test_shop.bought(&sale, "ann", &[1]).await;
    stage.test_shop.clock.advance(TICK);
    assert!(stage.live.tell().await.is_err());
    let mut meanwhile = stage.listens(&sale, None).await;
    let away = told(&mut before);
    *stage.is_away.lock().unwrap() = false;
    stage.ticks().await;

    assert_eq!(away, None);
    assert_eq!(told(&mut before).as_deref(), Some("open 1 2"));
    // It was told the last state that was read, and then the new one.
    assert_eq!(told(&mut meanwhile).as_deref(), Some("open 1 2"));
}

#[tokio::test]
async fn the_first_listener_waits_while_nothing_can_be_read() {
    let stage = Stage::open();
    let sale = stage.test_shop.sale(3, 1).await;
    *stage.is_away.lock().unwrap() = true;

    let mut listener = stage.listens(&sale, None).await;
    let away = told(&mut listener);
    *stage.is_away.lock().unwrap() = false;
    stage.ticks().await;

    assert_eq!(away, None);
    assert_eq!(told(&mut listener).as_deref(), Some("open 0 3"));
}

#[tokio::test]
async fn a_stopping_instance_ends_all_streams_and_takes_no_new_ones() {
    let stage = Stage::open();
    let sale = stage.test_shop.sale(3, 1).await;
    let mut listener = stage.listens(&sale, None).await;
    assert_eq!(told(&mut listener).as_deref(), Some("open 0 3"));

    stage.live.close();

    assert_eq!(told(&mut listener).as_deref(), Some("end"));
    let late = stage.live.follow(sale.id, None).await;
    assert!(matches!(late, Err(PortError::Unavailable { .. })), "{late:?}");
}
