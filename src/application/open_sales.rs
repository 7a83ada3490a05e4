//! Open sales: write the schedule's sales ahead of time, so that each opens at its second.
//!
//! A sale whose time is now and that does not exist is created by any instance that notices; the next one is written
//! ahead by the leader, and by everybody when its start is near. Two who write the same one make one sale: no start of
//! the schedule exists twice (`sales_one_per_start`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::board::Board;
use super::ports::{Calendar, Leadership, PortError, SaleBook};
use crate::domain::sale::{InvalidSale, NewSale, Sale, SaleWindow};

/// How long before its start everybody writes a missing sale, not only the leader.
const EVERYBODY_BEFORE: Duration = Duration::from_mins(1);
/// Most starts whose windows may overlap, and most that are written ahead at a time.
const MAX_OVERLAP: usize = 24;

/// What each scheduled sale looks like.
#[derive(Debug, Clone)]
pub struct Template {
    /// How long it is open.
    pub duration: Duration,
    /// Its items.
    pub items: i32,
    /// Pieces of each.
    pub stock: i32,
    /// Most pieces a buyer gets.
    pub buyer_limit: i32,
}

/// Why the schedule could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum OpenSalesError {
    /// The template is out of bounds.
    #[error(transparent)]
    Invalid(#[from] InvalidSale),
    /// A port failed.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// Keeps the schedule.
pub struct OpenSales {
    board: Arc<Board>,
    sales: Arc<dyn SaleBook>,
    calendar: Arc<dyn Calendar>,
    leadership: Arc<dyn Leadership>,
    template: Template,
    /// The last start that was written: one that is days away is not among the live sales yet.
    written_ahead: Mutex<Option<DateTime<Utc>>>,
}

impl OpenSales {
    /// Writes sales made after `template` into the book.
    #[must_use]
    pub fn new(
        board: Arc<Board>,
        sales: Arc<dyn SaleBook>,
        calendar: Arc<dyn Calendar>,
        leadership: Arc<dyn Leadership>,
        template: Template,
    ) -> Self {
        Self { board, sales, calendar, leadership, template, written_ahead: Mutex::default() }
    }

    /// Creates what is due; `actor` goes on record. Answers the sales that this call created.
    pub async fn execute(&self, actor: &str, term: Duration) -> Result<Vec<Sale>, OpenSalesError> {
        let existing = self.sales.live().await?;
        let Some(reading) = self.board.clock().database() else {
            return Ok(Vec::new());
        };
        let is_missing = |start: &DateTime<Utc>| {
            !existing.iter().any(|sale| sale.scheduled && sale.window.starts_at() == *start)
        };
        let mut due = self.open_at(reading.at);
        let next = self.next_starts(reading.at, term);
        if let Some(first) = next.iter().find(|start| is_missing(start) && self.is_unwritten(start))
        {
            let ahead = (*first - reading.at).to_std();
            let is_near = ahead.is_ok_and(|ahead| ahead < EVERYBODY_BEFORE);
            // Without Redis there is no leader: then everybody writes, which is only more work.
            if is_near || self.leadership.lead("schedule", term).await.unwrap_or(true) {
                due.extend(next.into_iter().filter(|start| self.is_unwritten(start)));
            }
        }
        let mut created = Vec::new();
        for start in due.into_iter().filter(is_missing) {
            let Some(sale) = self.sale(start) else { continue };
            created.extend(self.sales.create(&sale.validated()?, actor).await?);
            *self.written_ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some(start);
        }
        if !created.is_empty() {
            self.board.refresh().await?;
        }
        Ok(created)
    }

    /// The next start, and all others before the schedule is looked at again.
    fn next_starts(&self, now: DateTime<Utc>, term: Duration) -> Vec<DateTime<Utc>> {
        let mut starts = Vec::new();
        let mut moment = now;
        while let Some(start) = self.calendar.next_start(moment) {
            let is_soon = (start - now).to_std().is_ok_and(|ahead| ahead < term);
            if starts.len() == MAX_OVERLAP || (!starts.is_empty() && !is_soon) {
                break;
            }
            starts.push(start);
            moment = start;
        }
        starts
    }

    fn is_unwritten(&self, start: &DateTime<Utc>) -> bool {
        let written = *self.written_ahead.lock().unwrap_or_else(PoisonError::into_inner);
        written.is_none_or(|written| written < *start)
    }

    /// Starts whose sales are open at `now`, the earliest first.
    fn open_at(&self, now: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        let mut starts = Vec::new();
        let mut moment = now;
        while let Some(start) = self.calendar.last_start(moment) {
            let is_open = SaleWindow::lasting(start, self.template.duration)
                .is_some_and(|window| now < window.ends_at());
            if !is_open || starts.len() == MAX_OVERLAP {
                break;
            }
            starts.push(start);
            let Some(before) = start.checked_sub_signed(chrono::Duration::microseconds(1)) else {
                break;
            };
            moment = before;
        }
        starts.reverse();
        starts
    }

    fn sale(&self, start: DateTime<Utc>) -> Option<NewSale> {
        Some(NewSale {
            name: format!("Flash sale of {}", start.format("%Y-%m-%d %H:%M:%S UTC")),
            scheduled: true,
            window: SaleWindow::lasting(start, self.template.duration)?,
            buyer_limit: self.template.buyer_limit,
            items: self.template.items,
            stock: self.template.stock,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::{
        After, MockCalendar, MockLeadership, MockSaleBook, SaleFilter,
    };
    use crate::testing::builders::{HOUR, a_new_sale, at, away};
    use crate::testing::fakes::{FakeCalendar, FakeTerms};
    use crate::testing::house::House;

    const TERM: Duration = Duration::from_secs(15);
    /// Ten to eleven, on the first day of 1970.
    const TEN_TO_ELEVEN: i64 = 10 * 3_600 + 50 * 60;

    struct Schedule {
        house: House,
        terms: Arc<FakeTerms>,
        template: Template,
    }

    impl Schedule {
        /// How many sales there are.
        async fn made(&self) -> usize {
            let shop = self.house.shop();
            SaleBook::list(&*shop, SaleFilter::default(), After::beginning(10))
                .await
                .unwrap()
                .entries
                .len()
        }

        fn at(seconds: i64) -> Self {
            let house = House::open();
            house.clock.set(at(seconds));
            let terms = FakeTerms::new(Arc::clone(&house.clock));
            let template = Template { duration: HOUR, items: 3, stock: 1, buyer_limit: 10 };
            Self { house, terms, template }
        }

        fn on(&self, sales: Arc<dyn SaleBook>, leadership: Arc<dyn Leadership>) -> OpenSales {
            let calendar = Arc::new(FakeCalendar { period_seconds: 3_600 });
            let board = Arc::clone(&self.house.board);
            OpenSales::new(board, sales, calendar, leadership, self.template.clone())
        }

        fn instance(&self, number: u32) -> OpenSales {
            self.on(self.house.shop(), self.terms.instance(number))
        }

        /// Runs an instance; when the sales start that it made.
        async fn run(&self, instance: &OpenSales) -> Vec<i64> {
            let created = instance.execute("schedule@test", TERM).await.unwrap();
            created.iter().map(|sale| sale.window.starts_at().timestamp()).collect()
        }
    }

    fn leads(answer: fn() -> Result<bool, PortError>) -> Arc<dyn Leadership> {
        let mut leadership = MockLeadership::new();
        leadership.expect_lead().returning(move |_, _| answer());
        Arc::new(leadership)
    }

    #[tokio::test]
    async fn a_service_that_starts_at_ten_to_eleven_opens_the_ten_oclock_sale_and_writes_the_next()
    {
        let schedule = Schedule::at(TEN_TO_ELEVEN);

        let created = schedule.run(&schedule.instance(1)).await;

        assert_eq!(created, [10 * 3_600, 11 * 3_600]);
    }

    #[tokio::test]
    async fn a_created_sale_is_on_the_board_as_the_schedule_wants_it() {
        let schedule = Schedule::at(TEN_TO_ELEVEN);
        schedule.run(&schedule.instance(1)).await;

        let open = schedule.house.board.open();

        let sale = &open[0].sale;
        assert_eq!((open.len(), sale.scheduled, sale.items, sale.buyer_limit), (1, true, 3, 10));
        assert_eq!(sale.window.ends_at(), at(11 * 3_600));
    }

    #[tokio::test]
    async fn what_is_there_is_not_created_again() {
        let schedule = Schedule::at(TEN_TO_ELEVEN);
        schedule.run(&schedule.instance(1)).await;

        assert_eq!(schedule.run(&schedule.instance(2)).await, [0; 0]);
    }

    #[tokio::test]
    async fn the_next_sale_is_written_ahead_by_the_leader_only() {
        let schedule = Schedule::at(TEN_TO_ELEVEN);
        schedule.terms.instance(1).lead("schedule", TERM).await.unwrap();

        let follower = schedule.run(&schedule.instance(2)).await;
        let leader = schedule.run(&schedule.instance(1)).await;

        assert_eq!((follower, leader), (vec![10 * 3_600], vec![11 * 3_600]));
    }

    #[tokio::test]
    async fn when_its_start_is_near_everybody_writes_a_missing_sale() {
        let schedule = Schedule::at(11 * 3_600 - 59);

        let created = schedule.run(&schedule.on(schedule.house.shop(), leads(|| Ok(false)))).await;

        assert_eq!(created, [10 * 3_600, 11 * 3_600]);
    }

    #[tokio::test]
    async fn while_nobody_can_be_leader_everybody_writes() {
        let schedule = Schedule::at(TEN_TO_ELEVEN);

        let created =
            schedule.run(&schedule.on(schedule.house.shop(), leads(|| Err(away())))).await;

        assert_eq!(created, [10 * 3_600, 11 * 3_600]);
    }

    #[tokio::test]
    async fn two_leaders_at_once_make_one_sale_a_start() {
        let schedule = Schedule::at(TEN_TO_ELEVEN);
        // Both have read the sales before either has written.
        let mut blind = MockSaleBook::new();
        let shop = schedule.house.shop();
        blind.expect_live().returning(|| Ok(Vec::new()));
        blind.expect_create().returning(move |new, actor| Ok(shop.put_unless_taken(new, actor)));
        let both = schedule.on(Arc::new(blind), leads(|| Ok(true)));

        let first = schedule.run(&both).await;
        let second = schedule.run(&both).await;

        assert_eq!((first.len(), second.len()), (2, 0));
        assert_eq!(schedule.made().await, 2);
    }

    #[tokio::test]
    async fn between_short_sales_none_is_opened_late() {
        let mut schedule = Schedule::at(TEN_TO_ELEVEN);
        schedule.template.duration = HOUR / 2;

        assert_eq!(schedule.run(&schedule.instance(1)).await, [11 * 3_600]);
    }

    #[tokio::test]
    async fn of_long_sales_all_that_are_open_now_are_created() {
        let mut schedule = Schedule::at(TEN_TO_ELEVEN);
        schedule.template.duration = 2 * HOUR;

        let created = schedule.run(&schedule.instance(1)).await;

        assert_eq!(created, [9 * 3_600, 10 * 3_600, 11 * 3_600]);
    }

    #[tokio::test]
    async fn an_operators_sale_does_not_stand_for_the_schedules() {
        let schedule = Schedule::at(TEN_TO_ELEVEN);
        let window = SaleWindow::lasting(at(10 * 3_600), HOUR).unwrap();
        let new = a_new_sale(3, window);
        schedule.house.sale_like(new).await;

        assert_eq!(schedule.run(&schedule.instance(1)).await, [10 * 3_600, 11 * 3_600]);
    }

    #[tokio::test]
    async fn before_the_clock_was_measured_nothing_is_created() {
        let schedule = Schedule::at(TEN_TO_ELEVEN);
        schedule.house.clock.forget();

        assert_eq!(schedule.run(&schedule.instance(1)).await, [0; 0]);
    }

    #[tokio::test]
    async fn a_schedule_without_starts_creates_nothing() {
        let schedule = Schedule::at(TEN_TO_ELEVEN);
        let mut never = MockCalendar::new();
        never.expect_last_start().returning(|_| None);
        never.expect_next_start().returning(|_| None);
        let (board, shop) = (schedule.house.board(), schedule.house.shop());
        let leadership = schedule.terms.instance(1);
        let template = schedule.template.clone();

        let idle = OpenSales::new(board, shop, Arc::new(never), leadership, template);

        assert_eq!(schedule.run(&idle).await, [0; 0]);
    }

    #[tokio::test]
    async fn sales_that_cannot_be_read_or_written_are_an_error() {
        let schedule = Schedule::at(TEN_TO_ELEVEN);
        let mut unreadable = MockSaleBook::new();
        unreadable.expect_live().returning(|| Err(away()));
        let mut unwritable = MockSaleBook::new();
        unwritable.expect_live().returning(|| Ok(Vec::new()));
        unwritable.expect_create().returning(|_, _| Err(away()));

        for book in [unreadable, unwritable] {
            let instance = schedule.on(Arc::new(book), leads(|| Ok(true)));
            let failed = instance.execute("schedule@test", TERM).await;
            assert!(matches!(failed, Err(OpenSalesError::Port(_))));
        }
    }

    #[tokio::test]
    async fn a_template_out_of_bounds_is_an_error() {
        let mut schedule = Schedule::at(TEN_TO_ELEVEN);
        schedule.template.stock = 0;

        let failed = schedule.instance(1).execute("schedule@test", TERM).await;

        assert!(matches!(failed, Err(OpenSalesError::Invalid(InvalidSale::Stock))));
    }

    #[tokio::test]
    async fn a_next_start_that_is_days_away_is_written_once() {
        let schedule = Schedule::at(TEN_TO_ELEVEN);
        let mut weekly = MockSaleBook::new();
        let shop = schedule.house.shop();
        weekly.expect_live().returning(|| Ok(Vec::new()));
        weekly
            .expect_create()
            .once()
            .returning(move |new, actor| Ok(shop.put_unless_taken(new, actor)));
        let calendar = Arc::new(FakeCalendar { period_seconds: 7 * 24 * 3_600 });
        let (board, template) = (schedule.house.board(), schedule.template.clone());
        let keeper =
            OpenSales::new(board, Arc::new(weekly), calendar, leads(|| Ok(true)), template);

        schedule.run(&keeper).await;

        assert_eq!(schedule.run(&keeper).await, [0; 0]);
    }
}
