//! Checkout on fakes, and on ports that fail.

#![cfg(test)]

use std::time::Duration;

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

fn wanted(item: &str, quantity: i32) -> Wanted {
    Wanted { item: item_id(item), quantity: pieces(quantity) }
}

fn command(sale: Option<&Sale>, item: &str, quantity: i32) -> CheckoutCommand {
    CheckoutCommand {
        buyer: buyer("ann"),
        wish: Wish::Set(vec![wanted(item, quantity)]),
        sale: sale.map(|sale| sale.id),
        attempt: None,
        key: None,
    }
}

async fn checkout(ports: CheckoutPorts, command: &CheckoutCommand) -> CheckoutAnswer {
    Checkout::new(ports).execute(command).await.unwrap()
}

fn reason(answer: &CheckoutAnswer) -> Option<RefusalReason> {
    match answer {
        CheckoutAnswer::Refused(CheckoutRefusal::BySale { reason, .. }) => Some(*reason),
        CheckoutAnswer::Accepted { .. } => None,
        CheckoutAnswer::Refused(other) => panic!("{other:?}"),
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
    assert_eq!((code.sale, code.attempt, lines.len()), (sale.id, attempt, 1));
}

#[tokio::test]
async fn an_accepted_checkout_is_remembered_for_all_instances() {
    let house = House::open();
    let sale = Arc::new(house.sale(5, 50).await);
    house.board.refresh().await.unwrap();
    checkout(house.checkout_ports(), &command(Some(&sale), "2", 9)).await;

    let line = line(3, 2);
    let belief = house.memory.believes(Knock { sale, buyer: buyer("ann"), line }).await.unwrap();

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

    assert!(matches!(answer, CheckoutAnswer::Refused(CheckoutRefusal::QuantityBeyondLimit(10))));
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
    let named =
        blind.execute(&CheckoutCommand { sale: Some(sale_id(1)), ..command(None, "1", 1) }).await;

    assert!(implicit.is_err() && named.is_err());
}

#[tokio::test]
async fn a_sale_that_does_not_exist_is_not_found_and_nothing_is_recorded() {
    let house = House::open();
    let sale = a_sale(7);

    let answer = checkout(house.checkout_ports(), &command(Some(&sale), "1", 1)).await;

    assert!(matches!(answer, CheckoutAnswer::Refused(CheckoutRefusal::SaleNotFound)));
    assert_eq!(house.refused(&sale).await, []);
}

#[tokio::test]
async fn without_a_number_the_scheduled_sale_is_meant_then_the_only_one() {
    let house = House::open();
    let wanted = command(None, "1", 1);
    let sale_of = |answer: &CheckoutAnswer| match answer {
        CheckoutAnswer::Accepted { sale, .. } => Some(sale.id),
        CheckoutAnswer::Refused(_) => None,
    };

    let none = checkout(house.checkout_ports(), &wanted).await;
    let only = house.sale(5, 9).await;
    let one = checkout(house.checkout_ports(), &wanted).await;
    house.sale(5, 9).await;
    let several = checkout(house.checkout_ports(), &wanted).await;
    let by_schedule = NewSale { scheduled: true, ..house.new_sale(5) };
    let scheduled = house.sale_like(by_schedule).await;
    let all = checkout(house.checkout_ports(), &wanted).await;

    assert!(matches!(none, CheckoutAnswer::Refused(CheckoutRefusal::NoActiveSale)));
    assert_eq!(sale_of(&one), Some(only.id));
    assert!(matches!(several, CheckoutAnswer::Refused(CheckoutRefusal::SaleIdRequired)));
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
