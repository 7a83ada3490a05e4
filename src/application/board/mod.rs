//! The board: what this instance knows about sales, in memory, so that most of a flash sale's traffic ends here.
//!
//! It learns from its own commits at once, from other instances' news within milliseconds, and polls PostgreSQL for
//! generations. It may refuse only while its last look at the sale is younger than [`FRESH_FOR`]; what is older decides
//! nothing, and PostgreSQL does. A sale that it does not know is looked up, never refused for absence.

mod known_sale;
mod look;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

pub use known_sale::KnownSale;
use known_sale::micros;
use look::{LastLook, OneAtATime};

use super::catalogue::{Catalogue, Item};
use super::ports::{Clock, ItemReader, PortError, SaleBook, StockFacts};
use crate::domain::ids::{ItemNo, SaleId};
use crate::domain::sale::{ClockReading, Sale, SaleState};

/// A fact older than this refuses nobody (promise I2).
pub const FRESH_FOR: Duration = Duration::from_secs(1);
/// An unknown sale number is looked up again after this time at the latest.
const UNKNOWN_FOR: Duration = Duration::from_secs(1);
/// Sales in memory; above it the ended ones go.
const MAX_SALES: usize = 1_000;

/// Which sale a request without a sale's number means.
#[derive(Debug)]
pub enum ActiveSale {
    /// This one.
    Found(Arc<KnownSale>),
    /// Several are open, and none of them by the schedule.
    Several,
    /// None is open.
    None,
}

/// The sales that this instance knows.
pub struct Board {
    sales: Arc<dyn SaleBook>,
    items: Arc<dyn ItemReader>,
    clock: Arc<dyn Clock>,
    known: RwLock<HashMap<SaleId, Arc<KnownSale>>>,
    unknown: Mutex<HashMap<SaleId, Duration>>,
    max_unknown: usize,
    refresh: OneAtATime,
    lookup: OneAtATime,
}

impl Board {
    /// An empty board that remembers at most `max_unknown` numbers that are no sales.
    #[must_use]
    pub fn new(
        sales: Arc<dyn SaleBook>,
        items: Arc<dyn ItemReader>,
        clock: Arc<dyn Clock>,
        max_unknown: usize,
    ) -> Self {
        Self {
            sales,
            items,
            clock,
            known: RwLock::default(),
            unknown: Mutex::default(),
            max_unknown,
            refresh: OneAtATime::default(),
            lookup: OneAtATime::default(),
        }
    }

    /// Asks PostgreSQL for the live sales. A newer generation drops what was believed sold out.
    pub async fn refresh(&self) -> Result<(), PortError> {
        let mut last = self.refresh.0.lock().await;
        self.refresh_now(&mut last).await
    }

    /// A sale by its number; looked up if it is not on the board.
    pub async fn find(&self, id: SaleId) -> Result<Option<Arc<KnownSale>>, PortError> {
        if let Some(known) = self.known(id) {
            return Ok(Some(known));
        }
        if self.is_unknown(id) {
            return Ok(None);
        }
        let arrived_at = self.clock.monotonic();
        let mut last = self.lookup.0.lock().await;
        if let Some(known) = self.known(id) {
            return Ok(Some(known));
        }
        if self.is_unknown(id) {
            return Ok(None);
        }
        last.fails_since(arrived_at)?;
        let began_at = self.clock.monotonic();
        let found = self.sales.find(id).await;
        last.note(began_at, self.clock.monotonic(), &found);
        let Some(sale) = found? else {
            self.remember_unknown(id);
            return Ok(None);
        };
        let known = self.put(sale, began_at);
        self.tidy_up();
        Ok(Some(known))
    }

    /// The sale that a request without a number means: the scheduled one that is open, else the only one.
    ///
    /// `not` was found closed by PostgreSQL a moment ago.
    pub async fn active(&self, not: Option<SaleId>) -> Result<ActiveSale, PortError> {
        let arrived_at = self.clock.monotonic();
        let active = self.active_now(not);
        if !matches!(active, ActiveSale::None) {
            return Ok(active);
        }
        let mut last = self.refresh.0.lock().await;
        // Whoever waited here for a refresh that began after it arrived has its answer already.
        if last.began_at.is_none_or(|began_at| began_at < arrived_at) {
            last.fails_since(arrived_at)?;
            self.refresh_now(&mut last).await?;
        }
        Ok(self.active_now(not))
    }

    /// The catalogue of a sale, loaded once, however many ask.
    pub async fn catalogue(&self, known: &KnownSale) -> Result<Arc<Catalogue>, PortError> {
        let load = || async { self.items.catalogue(known.sale.id).await.map(Arc::new) };
        known.catalogue.get_or_try_init(load).await.cloned()
    }

    /// Items by their numbers: from memory where the catalogue is there, which it is wherever the sale was sold lately.
    pub async fn named(&self, sale: SaleId, numbers: &[ItemNo]) -> Result<Vec<Item>, PortError> {
        if let Some(known) = self.find(sale).await?
            && let Some(catalogue) = known.loaded()
        {
            return Ok(numbers.iter().filter_map(|no| catalogue.item(*no)).collect());
        }
        self.items.named(sale, numbers).await
    }

    /// Loads what requests for the open and the next sales will want: catalogues, and what is sold out already.
    pub async fn warm(&self) -> Result<(), PortError> {
        for known in self.not_ended() {
            self.catalogue(&known).await?;
            if !known.is_warm() {
                known.learn(&self.items.stock(known.sale.id).await?.facts);
                known.is_warm.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// The state of a sale, if this instance may tell: only from a fresh look, and outside the clock's error.
    #[must_use]
    pub fn state(&self, known: &KnownSale) -> Option<SaleState> {
        let reading = self.clock.database()?;
        if !known.is_fresh(self.clock.monotonic()) {
            return None;
        }
        known.sale.window.state_within(reading)
    }

    /// Whether what is known of the sale is young enough to refuse somebody.
    #[must_use]
    pub fn may_refuse(&self, known: &KnownSale) -> bool {
        known.is_fresh(self.clock.monotonic())
    }

    /// Takes in what a commit, of this instance or another, made of a sale's stock.
    pub fn learn(&self, sale: SaleId, facts: &StockFacts) {
        if let Some(known) = self.known(sale) {
            known.learn(facts);
        }
    }

    /// The database's clock, as it is known here.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Sales on the board that are open as far as this instance can tell.
    #[must_use]
    pub fn open(&self) -> Vec<Arc<KnownSale>> {
        let Some(reading) = self.clock.database() else {
            return Vec::new();
        };
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.values().filter(|known| may_be_open(known, reading)).cloned().collect()
    }

    fn not_ended(&self) -> Vec<Arc<KnownSale>> {
        let Some(reading) = self.clock.database() else {
            return Vec::new();
        };
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let is_over =
            |known: &KnownSale| known.sale.window.state_within(reading) == Some(SaleState::Ended);
        known.values().filter(|known| !is_over(known)).cloned().collect()
    }

    async fn refresh_now(&self, last: &mut LastLook) -> Result<(), PortError> {
        let began_at = self.clock.monotonic();
        let live = self.sales.live().await;
        last.note(began_at, self.clock.monotonic(), &live);
        for sale in live? {
            self.put(sale, began_at);
        }
        self.tidy_up();
        Ok(())
    }

    /// Ended sales keep their number and window, which refuse; their catalogues go, and above a bound they go themselves.
    fn tidy_up(&self) {
        let Some(reading) = self.clock.database() else { return };
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let has_ended =
            |known: &KnownSale| known.sale.window.state_within(reading) == Some(SaleState::Ended);
        if known.len() > MAX_SALES {
            known.retain(|_, known| !has_ended(known));
        }
        for known in known.values_mut() {
            if has_ended(known) && known.loaded().is_some() {
                *known = Arc::new(known.without_items());
            }
        }
    }

    /// The same, as far as it is known here.
    #[must_use]
    pub fn active_now(&self, not: Option<SaleId>) -> ActiveSale {
        let Some(reading) = self.clock.database() else {
            return ActiveSale::None;
        };
        let mut open = self.open();
        open.retain(|known| Some(known.sale.id) != not);
        // At the hour two scheduled sales may both be open within the clock's error: take the likelier, then the later.
        let scheduled = open.iter().filter(|known| known.sale.scheduled).max_by_key(|known| {
            let likely = known.sale.window.state_at(reading.at) == SaleState::Open;
            (likely, known.sale.window.starts_at())
        });
        match (scheduled, open.as_slice()) {
            (Some(scheduled), _) => ActiveSale::Found(Arc::clone(scheduled)),
            (None, []) => ActiveSale::None,
            (None, [only]) => ActiveSale::Found(Arc::clone(only)),
            (None, _) => ActiveSale::Several,
        }
    }

    /// A sale by its number, if it is on the board.
    #[must_use]
    pub fn known(&self, id: SaleId) -> Option<Arc<KnownSale>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn put(&self, sale: Sale, seen_at: Duration) -> Arc<KnownSale> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let old = known.get(&sale.id);
        if let Some(old) = old {
            // A look-up and a poll may cross: what is older than what is known changes nothing.
            if old.sale.generation > sale.generation {
                return Arc::clone(old);
            }
            if *old.sale == sale {
                old.seen_at.fetch_max(micros(seen_at), Ordering::Relaxed);
                return Arc::clone(old);
            }
        }
        let frozen = old.filter(|old| old.sale.items == sale.items && self.has_started(old));
        let catalogue = frozen.map(|old| Arc::clone(&old.catalogue)).unwrap_or_default();
        let new = Arc::new(KnownSale { catalogue, ..KnownSale::new(sale, seen_at) });
        known.insert(new.sale.id, Arc::clone(&new));
        new
    }

    /// Items are frozen once their sale is open.
    fn has_started(&self, known: &KnownSale) -> bool {
        self.clock.database().is_some_and(|reading| {
            known.sale.window.state_within(reading) != Some(SaleState::Upcoming)
        })
    }

    fn is_unknown(&self, id: SaleId) -> bool {
        let now = self.clock.monotonic();
        let unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        unknown.get(&id).is_some_and(|since| now.saturating_sub(*since) < UNKNOWN_FOR)
    }

    fn remember_unknown(&self, id: SaleId) {
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        if unknown.len() >= self.max_unknown {
            unknown.clear();
        }
        unknown.insert(id, self.clock.monotonic());
    }
}

fn may_be_open(known: &KnownSale, reading: ClockReading) -> bool {
    matches!(known.sale.window.state_within(reading), Some(SaleState::Open) | None)
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;
    use crate::application::catalogue::CatalogueBuilder;
    use crate::application::ports::{MockItemReader, MockSaleBook};
    use crate::domain::ids::ItemNo;
    use crate::domain::sale::{NewSale, SaleWindow};
    use crate::testing::builders::{START, a_sale, at, away, sale_id, sold_out};
    use crate::testing::fakes::{FakeClock, SlowSaleBook};
    use crate::testing::house::House;

    const ALMOST: Duration = Duration::from_millis(999);

    /// A board on a book of sales that answers as it is told; it is the first minute of [`a_sale`].
    fn board_on(sales: MockSaleBook) -> (Board, Arc<FakeClock>) {
        let clock = FakeClock::at(at(START + 60));
        let items = Arc::new(MockItemReader::new());
        (Board::new(Arc::new(sales), items, Arc::<FakeClock>::clone(&clock), 10), clock)
    }

    async fn known(house: &House, sale: &Sale) -> Arc<KnownSale> {
        house.board.find(sale.id).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_look_may_refuse_for_less_than_a_second() {
        let house = House::open();
        let sale = house.sale(2, 1).await;
        let known = known(&house, &sale).await;

        house.clock.advance(ALMOST);
        let almost = house.board.may_refuse(&known);
        house.clock.advance(Duration::from_millis(1));
        let then = house.board.may_refuse(&known);

        assert_eq!((almost, then), (true, false));
    }

    #[tokio::test]
    async fn an_old_look_does_not_tell_the_state_either() {
        let house = House::open();
        let sale = house.sale(2, 1).await;
        let known = known(&house, &sale).await;

        let fresh = house.board.state(&known);
        house.clock.advance(FRESH_FOR);

        assert_eq!((fresh, house.board.state(&known)), (Some(SaleState::Open), None));
    }

    #[tokio::test]
    async fn a_look_is_as_old_as_its_question() {
        let clock = FakeClock::at(at(START + 60));
        let (slow, mut sales) = (Arc::clone(&clock), MockSaleBook::new());
        sales.expect_live().returning(move || {
            slow.advance(FRESH_FOR);
            Ok(vec![a_sale(1)])
        });
        let items = Arc::new(MockItemReader::new());
        let board = Board::new(Arc::new(sales), items, clock, 10);

        board.refresh().await.unwrap();

        let known = board.find(sale_id(1)).await.unwrap().unwrap();
        assert!(!board.may_refuse(&known));
    }

    #[tokio::test]
    async fn while_postgresql_is_away_nobody_is_refused_for_longer_than_a_second() {
        let mut sales = MockSaleBook::new();
        sales.expect_live().once().returning(|| Ok(vec![a_sale(1)]));
        sales.expect_live().returning(|| Err(away()));
        let (board, clock) = board_on(sales);
        board.refresh().await.unwrap();
        let known = board.find(sale_id(1)).await.unwrap().unwrap();

        clock.advance(FRESH_FOR);
        board.refresh().await.unwrap_err();

        assert!(!board.may_refuse(&known));
    }

    #[tokio::test]
    async fn a_newer_generation_drops_what_was_believed_sold_out() {
        let house = House::open();
        let sale = house.sale(2, 1).await;
        house.board.learn(sale.id, &sold_out(1, &[1]));
        house.shop.set_stock(sale.id, ItemNo(1), 2);

        house.board.refresh().await.unwrap();

        assert!(!known(&house, &sale).await.is_sold_out(ItemNo(1)));
    }

    #[tokio::test]
    async fn the_same_generation_keeps_what_is_known() {
        let house = House::open();
        let sale = house.sale(2, 1).await;
        house.board.learn(sale.id, &sold_out(1, &[1]));

        house.board.refresh().await.unwrap();

        assert!(known(&house, &sale).await.is_sold_out(ItemNo(1)));
    }

    #[tokio::test]
    async fn facts_of_another_generation_are_ignored() {
        let house = House::open();
        let sale = house.sale(2, 1).await;
        house.shop.set_stock(sale.id, ItemNo(1), 2);
        house.board.refresh().await.unwrap();

        house.board.learn(sale.id, &sold_out(1, &[1]));
        house.board.learn(sale.id, &sold_out(3, &[1]));

        assert!(!known(&house, &sale).await.is_sold_out(ItemNo(1)));
    }

    #[tokio::test]
    async fn an_older_generation_does_not_replace_a_newer_one() {
        let mut sales = MockSaleBook::new();
        let newer = Sale { generation: 2, ..a_sale(1) };
        sales.expect_live().once().return_once(move || Ok(vec![newer]));
        sales.expect_live().once().returning(|| Ok(vec![a_sale(1)]));
        let (board, _) = board_on(sales);

        board.refresh().await.unwrap();
        board.refresh().await.unwrap();

        assert_eq!(board.find(sale_id(1)).await.unwrap().unwrap().sale.generation, 2);
    }

    #[tokio::test]
    async fn an_item_that_sells_out_twice_counts_once() {
        let house = House::open();
        let sale = house.sale(2, 1).await;

        house.board.learn(sale.id, &sold_out(1, &[1]));
        house.board.learn(sale.id, &sold_out(1, &[1]));

        assert!(!known(&house, &sale).await.all_sold_out());
    }

    #[tokio::test]
    async fn facts_about_items_that_are_not_there_are_ignored() {
        let house = House::open();
        let sale = house.sale(2, 1).await;

        house.board.learn(sale.id, &sold_out(1, &[0, -1, i32::MIN, 1_000, i32::MAX]));

        assert!(!known(&house, &sale).await.all_sold_out());
    }

    /// A board whose book answers when it is let.
    fn board_on_slow_sales(house: &House) -> (Arc<Board>, Arc<SlowSaleBook>) {
        let sales = SlowSaleBook::of(house.shop());
        let board = Board::new(Arc::<SlowSaleBook>::clone(&sales), house.shop(), house.clock(), 10);
        (Arc::new(board), sales)
    }

    #[tokio::test]
    async fn an_unknown_sale_is_looked_up_once_however_many_ask() {
        let house = House::open();
        let (board, sales) = board_on_slow_sales(&house);
        let mut all = JoinSet::new();
        for _ in 0..50 {
            let board = Arc::clone(&board);
            all.spawn(async move { board.find(sale_id(9)).await.unwrap().is_none() });
        }

        sales.answer(50);

        assert!(all.join_all().await.into_iter().all(|is_unknown| is_unknown));
        assert_eq!(sales.asked(), 1);
    }

    #[tokio::test]
    async fn an_unknown_sale_is_looked_up_again_after_a_second() {
        let house = House::open();
        let missing = house.board.find(sale_id(1)).await.unwrap();
        let sale = house.shop.put(&house.new_sale(2), "test");

        house.clock.advance(ALMOST);
        let remembered = house.board.find(sale.id).await.unwrap();
        house.clock.advance(Duration::from_millis(1));
        let found = house.board.find(sale.id).await.unwrap();

        assert!(missing.is_none() && remembered.is_none() && found.is_some());
    }

    #[tokio::test]
    async fn a_look_up_that_failed_is_not_remembered() {
        let mut sales = MockSaleBook::new();
        sales.expect_find().once().returning(|_| Err(away()));
        sales.expect_find().once().returning(|_| Ok(Some(a_sale(1))));
        let (board, _) = board_on(sales);

        board.find(sale_id(1)).await.unwrap_err();

        assert!(board.find(sale_id(1)).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn numbers_that_are_no_sales_are_forgotten_before_they_are_too_many() {
        let house = House::open();

        for number in 1..=1_000 {
            house.board.find(sale_id(number)).await.unwrap();
        }

        assert!(house.board.unknown.lock().unwrap().len() <= 10);
    }

    #[tokio::test]
    async fn many_who_ask_for_the_active_sale_share_one_look() {
        let house = House::open();
        house.shop.put(&house.new_sale(1), "test");
        let (board, sales) = board_on_slow_sales(&house);
        let mut all = JoinSet::new();
        for _ in 0..50 {
            let board = Arc::clone(&board);
            all.spawn(async move { board.active(None).await.unwrap() });
        }

        sales.answer(50);

        let active = all.join_all().await;
        assert!(active.iter().all(|active| matches!(active, ActiveSale::Found(_))));
        assert_eq!(sales.asked(), 1);
    }

    #[tokio::test]
    async fn a_look_that_began_before_somebody_came_is_not_their_answer() {
        let house = House::open();
        let (board, sales) = board_on_slow_sales(&house);
        let active = || {
            let board = Arc::clone(&board);
            async move { matches!(board.active(None).await.unwrap(), ActiveSale::Found(_)) }
        };
        let mut first = JoinSet::new();
        first.spawn(active());
        tokio::task::yield_now().await;
        house.clock.advance(Duration::from_millis(1));
        first.spawn(active());
        tokio::task::yield_now().await;

        sales.answer(2);

        first.join_all().await;
        assert_eq!(sales.asked(), 2);
    }

    #[tokio::test]
    async fn a_catalogue_is_loaded_once_and_again_after_a_failure() {
        let (mut sales, mut items) = (MockSaleBook::new(), MockItemReader::new());
        sales.expect_live().returning(|| Ok(vec![a_sale(1)]));
        items.expect_catalogue().once().returning(|_| Err(away()));
        items.expect_catalogue().once().returning(|_| Ok(CatalogueBuilder::default().build()));
        let clock = FakeClock::at(at(START + 60));
        let board = Board::new(Arc::new(sales), Arc::new(items), clock, 10);
        board.refresh().await.unwrap();
        let known = board.find(sale_id(1)).await.unwrap().unwrap();

        board.catalogue(&known).await.unwrap_err();
        board.catalogue(&known).await.unwrap();

        assert!(board.catalogue(&known).await.is_ok());
    }

    #[tokio::test]
    async fn a_warm_board_knows_what_sold_out_before_it_came() {
        let house = House::open();
        let sale = house.sale(2, 1).await;
        house.bought(&sale, "bob", &[2]).await;

        house.board.warm().await.unwrap();

        let known = known(&house, &sale).await;
        assert!(known.is_sold_out(ItemNo(2)) && known.loaded().is_some());
    }

    #[tokio::test]
    async fn within_the_clocks_error_of_an_edge_nobody_here_tells_the_state() {
        let house = House::open();
        let sale = house.sale(2, 1).await;
        let known = known(&house, &sale).await;
        // The estimate is a second ahead of the truth, and known to be up to two seconds off.
        house.clock.mistake(1, Duration::from_secs(2));

        let states = [-4, -3, 0, 1].map(|seconds| {
            house.clock.set(sale.window.ends_at() + chrono::Duration::seconds(seconds));
            house.board.state(&known)
        });

        assert_eq!(states, [Some(SaleState::Open), None, None, Some(SaleState::Ended)]);
    }

    #[tokio::test]
    async fn before_the_clock_was_measured_nobody_here_tells_anything() {
        let house = House::open();
        let sale = house.sale(2, 1).await;
        let known = known(&house, &sale).await;

        house.clock.forget();

        assert_eq!(house.board.state(&known), None);
        assert!(house.board.open().is_empty());
    }

    #[tokio::test]
    async fn above_its_bound_the_board_forgets_sales_that_have_ended() {
        let house = House::open();
        let new = house.new_sale(1);
        let open = house.sale_like(new.clone()).await;
        let past = new.window.starts_at();
        let window = SaleWindow::new(past - chrono::Duration::hours(1), past).unwrap();
        for _ in 0..=MAX_SALES {
            let ended = house.shop.put(&NewSale { window, ..new.clone() }, "test");
            house.board.find(ended.id).await.unwrap();
        }

        let left = house.board.known.read().unwrap().len();

        assert!(left <= MAX_SALES, "{left}");
        assert!(house.board.known(open.id).is_some());
    }
}
