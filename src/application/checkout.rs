//! Checkout: collect one item into the buyer's open checkout and answer its code. Nothing is reserved.
//!
//! Most refusals end on the board, without I/O. What the shared memory believes is a reason to look again, never a
//! verdict: its refusal is confirmed in PostgreSQL, and what was confirmed is remembered for a second, so that a buyer who
//! hammers at the limit costs one look a second. The memory is asked only where its word can change something: for a buyer
//! whom PostgreSQL has refused, and for a sale whose stock this instance has not read yet. It is told of standings from half
//! of the limit on; a refusal far below it, of many pieces at once, is PostgreSQL's each time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::board::{ActiveSale, Board, KnownSale};
use super::ports::{
    Belief, CheckoutBook, CodeSigner, Collect, Collected, FilterResult, Knock, KnownStanding,
    Meter, Operation, PortError, Refusal, RefusalReason, SharedMemory,
};
use super::refusals::Refusals;
use crate::domain::checkout::{Change, Line};
use crate::domain::code::CodeClaim;
use crate::domain::ids::{AttemptId, BuyerId, ItemId, ItemNo, Quantity, SaleId};
use crate::domain::sale::{Sale, SaleState};

/// How long a confirmed refusal at the limit is believed.
const CONFIRMED_FOR: Duration = Duration::from_secs(1);
/// Most confirmed refusals that are remembered.
const MAX_CONFIRMED: usize = 10_000;

/// What the buyer wants to collect.
#[derive(Debug, Clone)]
pub struct CheckoutCommand {
    /// Who.
    pub buyer: BuyerId,
    /// What.
    pub item: ItemId,
    /// How many.
    pub quantity: Quantity,
    /// Of which sale; the open one if not said.
    pub sale: Option<SaleId>,
}

/// The answer to a checkout.
#[derive(Debug)]
pub enum CheckoutAnswer {
    /// The item is in the checkout.
    Accepted {
        /// The code that buys it.
        code: CodeClaim,
        /// Lines in the checkout.
        lines: usize,
        /// The sale.
        sale: Arc<Sale>,
    },
    /// The sale refuses it.
    Refused(RefusalReason),
    /// More pieces than any buyer may have; this is the limit.
    QuantityBeyondLimit(i32),
    /// No sale has this number.
    SaleNotFound,
    /// No sale was named, and none is open.
    NoActiveSale,
    /// No sale was named, and several are open.
    SaleIdRequired,
}

/// Collects items.
pub struct Checkout {
    board: Arc<Board>,
    book: Arc<dyn CheckoutBook>,
    memory: Arc<dyn SharedMemory>,
    signer: Arc<dyn CodeSigner>,
    refusals: Arc<Refusals>,
    meter: Arc<dyn Meter>,
    confirmed: Mutex<HashMap<(SaleId, BuyerId), Confirmed>>,
}

/// Everything that [`Checkout`] needs.
pub struct CheckoutPorts {
    /// What is known of sales.
    pub board: Arc<Board>,
    /// Keeps the checkouts.
    pub book: Arc<dyn CheckoutBook>,
    /// Believes.
    pub memory: Arc<dyn SharedMemory>,
    /// Signs the codes.
    pub signer: Arc<dyn CodeSigner>,
    /// Records refusals.
    pub refusals: Arc<Refusals>,
    /// Counts.
    pub meter: Arc<dyn Meter>,
}

/// A buyer whom PostgreSQL refused at the limit.
struct Confirmed {
    /// The standing that was believed and confirmed, if one was: with the buyer's next commit it is another one.
    version: Option<i64>,
    /// When, by this process's clock.
    at: Duration,
}

impl Checkout {
    /// Collects with these ports.
    #[must_use]
    pub fn new(ports: CheckoutPorts) -> Self {
        let CheckoutPorts { board, book, memory, signer, refusals, meter } = ports;
        Self { board, book, memory, signer, refusals, meter, confirmed: Mutex::default() }
    }

    /// What can be said at once, from memory and for good; `None` if somebody has to be asked.
    #[must_use]
    pub fn glance(&self, command: &CheckoutCommand) -> Option<CheckoutAnswer> {
        let known = match command.sale {
            Some(id) => self.board.known(id)?,
            None => match self.board.active_now(None) {
                ActiveSale::Found(known) => known,
                ActiveSale::Several | ActiveSale::None => return None,
            },
        };
        let answer = Ok(self.refused_by_memory(&known, command)?);
        // Where no sale was named, the next one may be open already.
        if command.sale.is_none() && is_closed(&answer) {
            return None;
        }
        self.record(&known.sale, command, answer).ok()
    }

    /// Collects the item. Durable before it answers `Accepted`; a dropped future leaves either all of it or nothing.
    pub async fn execute(&self, command: &CheckoutCommand) -> Result<CheckoutAnswer, PortError> {
        let known = match command.sale {
            Some(id) => match self.board.find(id).await? {
                Some(known) => known,
                None => return Ok(CheckoutAnswer::SaleNotFound),
            },
            None => match self.board.active(None).await? {
                ActiveSale::Found(known) => known,
                ActiveSale::Several => return Ok(CheckoutAnswer::SaleIdRequired),
                ActiveSale::None => return Ok(CheckoutAnswer::NoActiveSale),
            },
        };
        let answer = self.collect(&known, command).await;
        // At the hour PostgreSQL may find the sale closed that this instance took for the open one: then it is the other; and
        // while that one was asked, the first may have opened.
        if command.sale.is_none()
            && is_closed(&answer)
            && let Ok(ActiveSale::Found(other)) = self.board.active(Some(known.sale.id)).await
        {
            let second = self.collect(&other, command).await;
            if !is_closed(&second) {
                return self.record(&other.sale, command, second);
            }
            let third = self.collect(&known, command).await;
            return self.record(&known.sale, command, third);
        }
        self.record(&known.sale, command, answer)
    }

    async fn collect(
        &self,
        known: &KnownSale,
        command: &CheckoutCommand,
    ) -> Result<CheckoutAnswer, PortError> {
        let sale = &known.sale;
        if let Some(answer) = self.refused_by_memory(known, command) {
            return Ok(answer);
        }
        let Some(item) = self.board.catalogue(known).await?.find(&command.item) else {
            return Ok(refused(RefusalReason::ItemNotFound));
        };
        if let Some(reason) = self.sold_out_on_the_board(known, item) {
            return Ok(refused(reason));
        }
        let line = Line { item, quantity: command.quantity };
        let mut version = None;
        let mut belief = None;
        if !known.is_warm() || self.was_refused(sale.id, &command.buyer) {
            let told = self.belief(sale, command, line).await;
            if let Belief::OverLimit { version: of } = told {
                version = Some(of);
                if self.was_confirmed(sale.id, &command.buyer, of) {
                    return Ok(refused(RefusalReason::BuyerLimit));
                }
            }
            belief = Some(told);
        }
        let wanted = Collect { sale: sale.id, buyer: command.buyer.clone(), line };
        let collected = self.book.collect(wanted).await?;
        if let Some(belief) = belief {
            self.count_filter(belief, &collected);
        }
        if collected == Collected::OverLimit {
            self.remember_refused(sale.id, &command.buyer, version);
        }
        Ok(self.answer(known, command, item, collected))
    }

    /// The refusals that cost no I/O.
    fn refused_by_memory(
        &self,
        known: &KnownSale,
        command: &CheckoutCommand,
    ) -> Option<CheckoutAnswer> {
        match self.board.state(known) {
            Some(SaleState::Upcoming) => return Some(refused(RefusalReason::NotStarted)),
            Some(SaleState::Ended) => return Some(refused(RefusalReason::Ended)),
            // Where this instance may not tell, PostgreSQL does.
            Some(SaleState::Open) | None => {}
        }
        let limit = known.sale.buyer_limit;
        if command.quantity.get() > limit {
            return Some(CheckoutAnswer::QuantityBeyondLimit(limit));
        }
        let Some(item) = known.loaded()?.find(&command.item) else {
            return Some(refused(RefusalReason::ItemNotFound));
        };
        self.sold_out_on_the_board(known, item).map(refused)
    }

    fn answer(
        &self,
        known: &KnownSale,
        command: &CheckoutCommand,
        item: ItemNo,
        collected: Collected,
    ) -> CheckoutAnswer {
        let sale = &known.sale;
        match collected {
            Collected::Added { attempt, standing, change, version } => {
                let (sale, buyer) = (Arc::clone(sale), command.buyer.clone());
                self.accept(attempt, change, KnownStanding { sale, buyer, standing, version })
            }
            Collected::SoldOut(facts) => {
                self.board.learn(sale.id, &facts);
                let reason = self.sold_out_on_the_board(known, item);
                refused(reason.unwrap_or(RefusalReason::ItemSoldOut))
            }
            Collected::OverLimit => refused(RefusalReason::BuyerLimit),
            Collected::NotStarted => refused(RefusalReason::NotStarted),
            Collected::Ended => refused(RefusalReason::Ended),
        }
    }

    fn accept(&self, attempt: AttemptId, change: Change, known: KnownStanding) -> CheckoutAnswer {
        let (lines, sale) = (known.standing.lines.len(), Arc::clone(&known.sale));
        // What is far from the limit refuses nobody. A line that became smaller is told: an older standing may refuse.
        if change == Change::Replaced || known.standing.is_near(sale.buyer_limit) {
            self.memory.remember_standing(known);
        }
        self.meter.checkout(None);
        CheckoutAnswer::Accepted { code: self.signer.sign(sale.id, attempt), lines, sale }
    }

    fn sold_out_on_the_board(&self, known: &KnownSale, item: ItemNo) -> Option<RefusalReason> {
        if !known.is_sold_out(item) || !self.board.may_refuse(known) {
            return None;
        }
        let all = known.all_sold_out();
        Some(if all { RefusalReason::SaleSoldOut } else { RefusalReason::ItemSoldOut })
    }

    async fn belief(&self, sale: &Arc<Sale>, command: &CheckoutCommand, line: Line) -> Belief {
        let knock = Knock { sale: Arc::clone(sale), buyer: command.buyer.clone(), line };
        // The memory is a courtesy. Its adapter tells about its failures; here they mean that nothing is believed.
        self.memory.believes(knock).await.unwrap_or(Belief::Cold)
    }

    fn count_filter(&self, belief: Belief, collected: &Collected) {
        let sold_out = matches!(collected, Collected::SoldOut(_));
        self.meter.filter(match belief {
            Belief::Cold => FilterResult::Cold,
            Belief::ItemInFilter if sold_out => FilterResult::Confirmed,
            Belief::ItemInFilter => FilterResult::FalsePositive,
            Belief::Fine | Belief::OverLimit { .. } | Belief::SaleSoldOut => FilterResult::Miss,
        });
    }

    /// Puts the final answer on record, if it is a refusal: an attempt is refused once, whatever was tried for it.
    fn record(
        &self,
        sale: &Sale,
        command: &CheckoutCommand,
        answer: Result<CheckoutAnswer, PortError>,
    ) -> Result<CheckoutAnswer, PortError> {
        let reason = match &answer {
            Ok(CheckoutAnswer::Refused(reason)) => *reason,
            Err(_) => RefusalReason::Unavailable,
            Ok(_) => return answer,
        };
        if let Some(reading) = self.board.clock().database() {
            self.refusals.record(Refusal {
                sale: sale.id,
                operation: Operation::Checkout,
                reason,
                buyer: Some(command.buyer.clone()),
                item: Some(command.item.clone()),
                attempt: None,
                refused_at: reading.at,
            });
        }
        self.meter.checkout(Some(reason));
        self.meter.refused(reason);
        answer
    }

    fn was_confirmed(&self, sale: SaleId, buyer: &BuyerId, version: i64) -> bool {
        let now = self.board.clock().monotonic();
        let confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        confirmed.get(&(sale, buyer.clone())).is_some_and(|confirmed| {
            confirmed.version == Some(version) && now.saturating_sub(confirmed.at) < CONFIRMED_FOR
        })
    }

    fn was_refused(&self, sale: SaleId, buyer: &BuyerId) -> bool {
        let confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        !confirmed.is_empty() && confirmed.contains_key(&(sale, buyer.clone()))
    }

    fn remember_refused(&self, sale: SaleId, buyer: &BuyerId, version: Option<i64>) {
        let at = self.board.clock().monotonic();
        let mut confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        if confirmed.len() >= MAX_CONFIRMED {
            confirmed.clear();
        }
        confirmed.insert((sale, buyer.clone()), Confirmed { version, at });
    }
}

fn is_closed(answer: &Result<CheckoutAnswer, PortError>) -> bool {
    matches!(answer, Ok(CheckoutAnswer::Refused(RefusalReason::Ended | RefusalReason::NotStarted)))
}

fn refused(reason: RefusalReason) -> CheckoutAnswer {
    CheckoutAnswer::Refused(reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::{
        Ledger, MockCheckoutBook, MockItemReader, MockSaleBook, MockSharedMemory,
    };
    use crate::domain::sale::{NewSale, SaleWindow};
    use crate::testing::builders::{
        a_sale, away, buyer, collect, item_id, line, pieces, sale_id, sold_out,
    };
    use crate::testing::fakes::Metered;
    use crate::testing::house::House;

    fn command(sale: Option<&Sale>, item: &str, quantity: i32) -> CheckoutCommand {
        CheckoutCommand {
            buyer: buyer("ann"),
            item: item_id(item),
            quantity: pieces(quantity),
            sale: sale.map(|sale| sale.id),
        }
    }

    async fn checkout(ports: CheckoutPorts, command: &CheckoutCommand) -> CheckoutAnswer {
        Checkout::new(ports).execute(command).await.unwrap()
    }

    fn reason(answer: &CheckoutAnswer) -> Option<RefusalReason> {
        match answer {
            CheckoutAnswer::Refused(reason) => Some(*reason),
            CheckoutAnswer::Accepted { .. } => None,
            other => panic!("{other:?}"),
        }
    }

    /// A book that must not be asked.
    fn closed_book() -> Arc<dyn CheckoutBook> {
        Arc::new(MockCheckoutBook::new())
    }

    fn memory_that_believes(belief: Belief) -> Arc<dyn SharedMemory> {
        let mut memory = MockSharedMemory::new();
        memory.expect_believes().returning(move |_| Ok(belief));
        memory.expect_remember_standing().return_const(());
        Arc::new(memory)
    }

    #[tokio::test]
    async fn an_accepted_checkout_answers_the_code_that_buys_it() {
        let house = House::open();
        let sale = house.sale(5, 1).await;

        let answer = checkout(house.checkout_ports(), &command(Some(&sale), "2", 1)).await;

        let CheckoutAnswer::Accepted { code, lines, .. } = answer else { panic!("{answer:?}") };
        assert!(house.signer.is_genuine(&code));
        let Collected::Added { attempt, .. } =
            house.shop.collect(collect(sale.id, "ann", 3, 1)).await.unwrap()
        else {
            panic!("item 3 is there")
        };
        assert_eq!((code.sale, code.attempt, lines), (sale.id, attempt, 1));
    }

    #[tokio::test]
    async fn an_accepted_checkout_is_remembered_for_all_instances() {
        let house = House::open();
        let sale = Arc::new(house.sale(5, 50).await);
        house.board.refresh().await.unwrap();
        checkout(house.checkout_ports(), &command(Some(&sale), "2", 9)).await;

        let line = line(3, 2);
        let belief =
            house.memory.believes(Knock { sale, buyer: buyer("ann"), line }).await.unwrap();

        assert!(matches!(belief, Belief::OverLimit { .. }), "{belief:?}");
    }

    #[tokio::test]
    async fn before_the_start_and_after_the_end_nobody_asks_the_book() {
        let house = House::open();
        let open = house.new_sale(5);
        let (start, end) = (open.window.starts_at(), open.window.ends_at());
        let day = chrono::Duration::days(1);
        for (window, expected) in [
            (SaleWindow::new(start + day / 2, end + day / 2), RefusalReason::NotStarted),
            (SaleWindow::new(start - day, start), RefusalReason::Ended),
        ] {
            let sale = house.sale_like(NewSale { window: window.unwrap(), ..open.clone() }).await;
            // Ended sales are not live: a look-up puts them on the board.
            house.board.find(sale.id).await.unwrap();
            let ports = CheckoutPorts { book: closed_book(), ..house.checkout_ports() };

            let answer = checkout(ports, &command(Some(&sale), "1", 1)).await;

            assert_eq!(reason(&answer), Some(expected));
            assert_eq!(house.refused(&sale).await, [(Operation::Checkout, expected, 1)]);
        }
    }

    #[tokio::test]
    async fn inside_the_clocks_error_the_book_decides_and_nobody_is_refused_from_memory() {
        let house = House::open();
        let sale = house.sale(5, 1).await;
        house.clock.set(sale.window.ends_at() - chrono::Duration::seconds(1));
        house.clock.mistake(2, Duration::from_secs(3));

        let answer = checkout(house.checkout_ports(), &command(Some(&sale), "1", 1)).await;

        assert_eq!(reason(&answer), None);
    }

    #[tokio::test]
    async fn a_quantity_beyond_the_limit_is_told_with_the_limit_and_is_no_refusal() {
        let house = House::open();
        let sale = house.sale(5, 50).await;
        let ports = CheckoutPorts { book: closed_book(), ..house.checkout_ports() };

        let answer = checkout(ports, &command(Some(&sale), "1", 11)).await;

        assert!(matches!(answer, CheckoutAnswer::QuantityBeyondLimit(10)));
        assert_eq!(house.refused(&sale).await, []);
    }

    #[tokio::test]
    async fn an_item_that_the_sale_does_not_have_is_refused_without_the_book() {
        let house = House::open();
        let sale = house.sale(5, 1).await;
        let ports = CheckoutPorts { book: closed_book(), ..house.checkout_ports() };

        let answer = checkout(ports, &command(Some(&sale), "6", 1)).await;

        assert_eq!(reason(&answer), Some(RefusalReason::ItemNotFound));
    }

    #[tokio::test]
    async fn what_the_board_knows_sold_out_is_refused_without_any_port() {
        let house = House::open();
        let sale = house.sale(2, 1).await;
        for (items, expected) in
            [(&[1][..], RefusalReason::ItemSoldOut), (&[1, 2], RefusalReason::SaleSoldOut)]
        {
            house.board.learn(sale.id, &sold_out(1, items));
            let memory = Arc::new(MockSharedMemory::new());
            let ports = CheckoutPorts { book: closed_book(), memory, ..house.checkout_ports() };

            let answer = checkout(ports, &command(Some(&sale), "1", 1)).await;

            assert_eq!(reason(&answer), Some(expected));
        }
    }

    #[tokio::test]
    async fn a_board_that_looked_a_second_ago_refuses_nobody() {
        let house = House::open();
        let sale = house.sale(2, 1).await;
        house.board.learn(sale.id, &sold_out(1, &[1]));
        house.clock.advance(Duration::from_secs(1));

        let answer = checkout(house.checkout_ports(), &command(Some(&sale), "1", 1)).await;

        assert_eq!(reason(&answer), None);
    }

    #[tokio::test]
    async fn what_the_book_calls_sold_out_is_refused_from_memory_the_next_time() {
        let house = House::open();
        let sale = house.sale(2, 1).await;
        house.bought(&sale, "bob", &[1]).await;
        let first = checkout(house.checkout_ports(), &command(Some(&sale), "1", 1)).await;
        let ports = CheckoutPorts { book: closed_book(), ..house.checkout_ports() };

        let second = checkout(ports, &command(Some(&sale), "1", 1)).await;

        assert_eq!(reason(&first), Some(RefusalReason::ItemSoldOut));
        assert_eq!(reason(&second), Some(RefusalReason::ItemSoldOut));
    }

    #[tokio::test]
    async fn no_belief_alone_refuses_anybody() {
        let house = House::open();
        let sale = house.sale(5, 1).await;
        for belief in [
            Belief::Fine,
            Belief::ItemInFilter,
            Belief::OverLimit { version: 1 },
            Belief::SaleSoldOut,
            Belief::Cold,
        ] {
            let memory = memory_that_believes(belief);
            let ports = CheckoutPorts { memory, ..house.checkout_ports() };

            let answer = checkout(ports, &command(Some(&sale), "1", 1)).await;

            assert_eq!(reason(&answer), None, "{belief:?}");
        }
    }

    #[tokio::test]
    async fn a_false_positive_of_the_filter_is_counted_as_one() {
        let house = House::open();
        let sale = house.sale(5, 1).await;
        let memory = memory_that_believes(Belief::ItemInFilter);

        let ports = CheckoutPorts { memory, ..house.checkout_ports() };
        checkout(ports, &command(Some(&sale), "1", 1)).await;

        assert_eq!(house.meter.count(Metered::Filter(FilterResult::FalsePositive)), 1);
    }

    #[tokio::test]
    async fn a_buyer_who_hammers_at_the_limit_costs_one_look_a_second() {
        let house = House::open();
        let sale = house.sale(5, 50).await;
        let mut book = MockCheckoutBook::new();
        book.expect_collect().times(2).returning(|_| Ok(Collected::OverLimit));
        let memory = memory_that_believes(Belief::OverLimit { version: 1 });
        let ports = CheckoutPorts { book: Arc::new(book), memory, ..house.checkout_ports() };
        let hammered = Checkout::new(ports);

        for _ in 0..20 {
            hammered.execute(&command(Some(&sale), "1", 1)).await.unwrap();
            house.clock.advance(Duration::from_millis(100));
        }

        let expected = (Operation::Checkout, RefusalReason::BuyerLimit, 20);
        assert_eq!(house.refused(&sale).await, [expected]);
    }

    #[tokio::test]
    async fn a_confirmed_refusal_says_nothing_where_the_memory_believes_otherwise() {
        let house = House::open();
        let sale = house.sale(5, 50).await;
        let one = Checkout::new(house.checkout_ports());
        one.execute(&command(Some(&sale), "1", 8)).await.unwrap();
        one.execute(&command(Some(&sale), "2", 5)).await.unwrap();

        let answer = one.execute(&command(Some(&sale), "2", 2)).await.unwrap();

        assert_eq!(reason(&answer), None);
    }

    #[tokio::test]
    async fn a_memory_that_is_away_stops_nobody() {
        let house = House::open();
        let sale = house.sale(5, 1).await;
        let mut memory = MockSharedMemory::new();
        memory.expect_believes().returning(|_| Err(away()));
        memory.expect_remember_standing().return_const(());
        let ports = CheckoutPorts { memory: Arc::new(memory), ..house.checkout_ports() };

        let answer = checkout(ports, &command(Some(&sale), "1", 1)).await;

        assert_eq!(reason(&answer), None);
    }

    #[tokio::test]
    async fn a_book_that_is_away_is_an_error_and_a_refusal_on_record() {
        let house = House::open();
        let sale = house.sale(5, 1).await;
        let mut book = MockCheckoutBook::new();
        book.expect_collect().returning(|_| Err(away()));
        let ports = CheckoutPorts { book: Arc::new(book), ..house.checkout_ports() };

        let answer = Checkout::new(ports).execute(&command(Some(&sale), "1", 1)).await;

        assert!(matches!(answer, Err(PortError::Unavailable { .. })));
        let expected = (Operation::Checkout, RefusalReason::Unavailable, 1);
        assert_eq!(house.refused(&sale).await, [expected]);
    }

    #[tokio::test]
    async fn a_catalogue_that_is_away_is_an_error_and_a_refusal_on_record() {
        let house = House::open();
        let sale = house.sale(5, 1).await;
        let mut items = MockItemReader::new();
        items.expect_catalogue().returning(|_| Err(away()));
        let clock = house.clock();
        let board = Arc::new(Board::new(house.shop(), Arc::new(items), clock, 10));
        let ports = CheckoutPorts { board, ..house.checkout_ports() };

        let answer = Checkout::new(ports).execute(&command(Some(&sale), "1", 1)).await;

        assert!(matches!(answer, Err(PortError::Unavailable { .. })));
        let expected = (Operation::Checkout, RefusalReason::Unavailable, 1);
        assert_eq!(house.refused(&sale).await, [expected]);
    }

    #[tokio::test]
    async fn sales_that_cannot_be_read_are_an_error() {
        let house = House::open();
        let mut sales = MockSaleBook::new();
        sales.expect_find().returning(|_| Err(away()));
        sales.expect_live().returning(|| Err(away()));
        let clock = house.clock();
        let board = Arc::new(Board::new(Arc::new(sales), house.shop(), clock, 10));
        let ports = CheckoutPorts { board, ..house.checkout_ports() };
        let blind = Checkout::new(ports);

        let implicit = blind.execute(&command(None, "1", 1)).await;
        let named = blind
            .execute(&CheckoutCommand { sale: Some(sale_id(1)), ..command(None, "1", 1) })
            .await;

        assert!(implicit.is_err() && named.is_err());
    }

    #[tokio::test]
    async fn a_sale_that_does_not_exist_is_not_found_and_nothing_is_recorded() {
        let house = House::open();
        let sale = a_sale(7);

        let answer = checkout(house.checkout_ports(), &command(Some(&sale), "1", 1)).await;

        assert!(matches!(answer, CheckoutAnswer::SaleNotFound));
        assert_eq!(house.refused(&sale).await, []);
    }

    #[tokio::test]
    async fn without_a_number_the_scheduled_sale_is_meant_then_the_only_one() {
        let house = House::open();
        let wanted = command(None, "1", 1);
        let sale_of = |answer: &CheckoutAnswer| match answer {
            CheckoutAnswer::Accepted { sale, .. } => Some(sale.id),
            _ => None,
        };

        let none = checkout(house.checkout_ports(), &wanted).await;
        let only = house.sale(5, 9).await;
        let one = checkout(house.checkout_ports(), &wanted).await;
        house.sale(5, 9).await;
        let several = checkout(house.checkout_ports(), &wanted).await;
        let by_schedule = NewSale { scheduled: true, ..house.new_sale(5) };
        let scheduled = house.sale_like(by_schedule).await;
        let all = checkout(house.checkout_ports(), &wanted).await;

        assert!(matches!(none, CheckoutAnswer::NoActiveSale));
        assert_eq!(sale_of(&one), Some(only.id));
        assert!(matches!(several, CheckoutAnswer::SaleIdRequired));
        assert_eq!(sale_of(&all), Some(scheduled.id));
    }

    /// Two hours of the schedule, at the edge between them; the clock is a second behind, and knows that it may be.
    async fn at_the_hours_edge() -> (House, Sale, Sale) {
        let house = House::open();
        let first = NewSale { scheduled: true, ..house.new_sale(5) };
        let edge = first.window.ends_at();
        let window = SaleWindow::lasting(edge, Duration::from_hours(1)).unwrap();
        let second = house.shop.put(&NewSale { window, ..first.clone() }, "test");
        let first = house.sale_like(first).await;
        house.clock.set(edge);
        house.clock.mistake(-1, Duration::from_secs(2));
        (house, first, second)
    }

    #[tokio::test]
    async fn at_the_hours_edge_the_other_sale_is_meant() {
        let (house, _, second) = at_the_hours_edge().await;

        let answer = checkout(house.checkout_ports(), &command(None, "1", 1)).await;

        assert!(matches!(answer, CheckoutAnswer::Accepted { sale, .. } if sale.id == second.id));
    }

    #[tokio::test]
    async fn at_the_hours_edge_an_accepted_checkout_is_not_on_record_as_refused() {
        let (house, first, _) = at_the_hours_edge().await;

        checkout(house.checkout_ports(), &command(None, "1", 1)).await;

        assert_eq!(house.refused(&first).await, []);
    }

    #[tokio::test]
    async fn checkouts_of_one_buyer_at_once_have_one_code() {
        let house = House::open();
        let sale = house.sale(8, 9).await;
        let all = Arc::new(Checkout::new(house.checkout_ports()));
        let mut race = tokio::task::JoinSet::new();
        for item in 1..=8 {
            let (all, command) = (Arc::clone(&all), command(Some(&sale), &item.to_string(), 1));
            race.spawn(async move { all.execute(&command).await.unwrap() });
        }

        let answers = race.join_all().await;

        let attempt = house.attempt(&sale, "ann", &[1]).await;
        let is_one_code = answers.iter().all(
            |answer| matches!(answer, CheckoutAnswer::Accepted { code, .. } if code.attempt == attempt),
        );
        assert!(is_one_code, "{answers:?}");
        assert_eq!(house.shop.outcome(sale.id, attempt).await.unwrap(), None);
    }
}
