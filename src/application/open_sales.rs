//! Open sales: create the scheduled sales ahead of time, so that each opens at its second.
//!
//! Any instance creates a missing sale whose window is open. The leader creates the next sale ahead; shortly before its
//! start, every instance does. Concurrent attempts create one sale: a start of the schedule is unique
//! (`sales_one_per_start`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::ports::{Calendar, Leadership, PortError, SaleStore};
use super::sale_cache::SaleCache;
use crate::domain::sale::{InvalidSale, NewSale, Sale, SaleWindow};

/// This long before its start, every instance creates a missing sale, not only the leader.
const ALL_CREATE_BEFORE: Duration = Duration::from_mins(1);
/// Maximum number of starts whose windows overlap, and of sales created ahead at a time.
const MAX_OVERLAP: usize = 24;

/// How scheduled sales are created.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Whether they are.
    pub enabled: bool,
    /// The creator on record.
    pub actor: String,
    /// The leader's term: sales that start within it are created ahead.
    pub term: Duration,
    /// Length of each sale.
    pub duration: Duration,
    /// Number of items of each sale.
    pub items: i32,
    /// Pieces of each item.
    pub stock: i32,
    /// Maximum number of pieces per buyer.
    pub buyer_limit: i32,
}

/// The ports of [`OpenSales`].
pub struct OpenSalesPorts {
    /// Refreshed with the created sales; provides the clock.
    pub sale_cache: Arc<SaleCache>,
    /// Stores the sales.
    pub sales: Arc<dyn SaleStore>,
    /// Computes the starts.
    pub calendar: Arc<dyn Calendar>,
    /// Elects the instance that creates sales ahead.
    pub leadership: Arc<dyn Leadership>,
}

/// Why the scheduled sales could not be created.
#[derive(Debug, thiserror::Error)]
pub enum OpenSalesError {
    /// The sales of the schedule are out of bounds.
    #[error(transparent)]
    Invalid(#[from] InvalidSale),
    /// A port failed.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// The schedule of each moment, which may change.
pub type CurrentSchedule = Arc<dyn Fn() -> Schedule + Send + Sync>;

/// Creates the scheduled sales.
pub struct OpenSales {
    ports: OpenSalesPorts,
    schedule: CurrentSchedule,
    /// Start of the last sale created here: one that is days away is not among the live sales yet.
    last_created: Mutex<Option<DateTime<Utc>>>,
}

impl OpenSales {
    /// Creates sales of this schedule.
    #[must_use]
    pub fn new(ports: OpenSalesPorts, schedule: CurrentSchedule) -> Self {
        Self { ports, schedule, last_created: Mutex::default() }
    }

    /// Forgets what was created by another schedule: starts before that are new by this one.
    pub fn forget(&self) {
        *self.last_created.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Creates the due sales and returns those that this call created.
    pub async fn execute(&self) -> Result<Vec<Sale>, OpenSalesError> {
        let schedule = (self.schedule)();
        if !schedule.enabled {
            return Ok(Vec::new());
        }
        let term = schedule.term;
        let existing = self.ports.sales.live().await?;
        let Some(reading) = self.ports.sale_cache.clock().database() else {
            return Ok(Vec::new());
        };
        let is_missing = |start: &DateTime<Utc>| {
            !existing.iter().any(|sale| sale.scheduled && sale.window.starts_at() == *start)
        };
        let mut due = self.open_at(reading.at, &schedule);
        let next = self.next_starts(reading.at, term);
        if let Some(first) = next.iter().find(|start| is_missing(start) && self.is_new(start)) {
            let ahead = (*first - reading.at).to_std();
            let is_near = ahead.is_ok_and(|ahead| ahead < ALL_CREATE_BEFORE);
            // Without Redis there is no leader: then every instance tries, which is only more work.
            if is_near || self.ports.leadership.lead("schedule", term).await.unwrap_or(true) {
                due.extend(next.into_iter().filter(|start| self.is_new(start)));
            }
        }
        let mut created = Vec::new();
        for start in due.into_iter().filter(is_missing) {
            let Some(sale) = self.sale(start, &schedule) else { continue };
            let sale = sale.validated()?;
            created.extend(self.ports.sales.create(&sale, &schedule.actor).await?);
            *self.last_created.lock().unwrap_or_else(PoisonError::into_inner) = Some(start);
        }
        if !created.is_empty() {
            self.ports.sale_cache.refresh().await?;
        }
        Ok(created)
    }

    /// The next start, and all others within the leader's term.
    fn next_starts(&self, now: DateTime<Utc>, term: Duration) -> Vec<DateTime<Utc>> {
        let mut starts = Vec::new();
        let mut moment = now;
        while let Some(start) = self.ports.calendar.next_start(moment) {
            let is_soon = (start - now).to_std().is_ok_and(|ahead| ahead < term);
            if starts.len() == MAX_OVERLAP || (!starts.is_empty() && !is_soon) {
                break;
            }
            starts.push(start);
            moment = start;
        }
        starts
    }

    fn is_new(&self, start: &DateTime<Utc>) -> bool {
        let last = *self.last_created.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_none_or(|last| last < *start)
    }

    /// Starts whose sales are open at `now`, earliest first.
    fn open_at(&self, now: DateTime<Utc>, schedule: &Schedule) -> Vec<DateTime<Utc>> {
        let mut starts = Vec::new();
        let mut moment = now;
        while let Some(start) = self.ports.calendar.last_start(moment) {
            let is_open = SaleWindow::lasting(start, schedule.duration)
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

    fn sale(&self, start: DateTime<Utc>, schedule: &Schedule) -> Option<NewSale> {
        Some(NewSale {
            name: format!("Flash sale of {}", self.ports.calendar.shown(start)),
            scheduled: true,
            window: SaleWindow::lasting(start, schedule.duration)?,
            buyer_limit: schedule.buyer_limit,
            items: schedule.items,
            stock: schedule.stock,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::{
        Cursor, MockCalendar, MockLeadership, MockSaleStore, SaleFilter,
    };
    use crate::testing::builders::{HOUR, a_new_sale, at, unavailable};
    use crate::testing::fakes::{FakeCalendar, FakeLeaderships};
    use crate::testing::test_shop::TestShop;

    const TERM: Duration = Duration::from_secs(15);
    /// 10:50 on the first day of 1970.
    const TEN_TO_ELEVEN: i64 = 10 * 3_600 + 50 * 60;

    struct World {
        test_shop: TestShop,
        terms: Arc<FakeLeaderships>,
        schedule: Schedule,
    }

    impl World {
        async fn number_of_sales(&self) -> usize {
            let shop = self.test_shop.shop();
            SaleStore::list(&*shop, SaleFilter::default(), Cursor::beginning(10))
                .await
                .unwrap()
                .entries
                .len()
        }

        fn at(seconds: i64) -> Self {
            let test_shop = TestShop::open();
            test_shop.clock.set(at(seconds));
            let terms = FakeLeaderships::new(Arc::clone(&test_shop.clock));
            let schedule = Schedule {
                enabled: true,
                actor: "schedule@test".to_owned(),
                term: TERM,
                duration: HOUR,
                items: 3,
                stock: 1,
                buyer_limit: 10,
            };
            Self { test_shop, terms, schedule }
        }

        fn ports(&self) -> OpenSalesPorts {
            OpenSalesPorts {
                sale_cache: self.test_shop.sale_cache(),
                sales: self.test_shop.shop(),
                calendar: Arc::new(FakeCalendar { period_seconds: 3_600 }),
                leadership: self.terms.instance(1),
            }
        }

        fn on(&self, sales: Arc<dyn SaleStore>, leadership: Arc<dyn Leadership>) -> OpenSales {
            let ports = OpenSalesPorts { sales, leadership, ..self.ports() };
            OpenSales::new(ports, always(&self.schedule))
        }

        fn instance(&self, number: u32) -> OpenSales {
            self.on(self.test_shop.shop(), self.terms.instance(number))
        }

        /// Runs an instance and returns the starts of the sales that it created.
        async fn run(&self, instance: &OpenSales) -> Vec<i64> {
            let created = instance.execute().await.unwrap();
            created.iter().map(|sale| sale.window.starts_at().timestamp()).collect()
        }
    }

    /// A schedule that does not change.
    fn always(schedule: &Schedule) -> CurrentSchedule {
        let schedule = schedule.clone();
        Arc::new(move || schedule.clone())
    }

    fn leads(answer: fn() -> Result<bool, PortError>) -> Arc<dyn Leadership> {
        let mut leadership = MockLeadership::new();
        leadership.expect_lead().returning(move |_, _| answer());
        Arc::new(leadership)
    }

    #[tokio::test]
    async fn a_schedule_that_is_off_creates_nothing_until_it_is_on() {
        let world = World::at(TEN_TO_ELEVEN);
        let is_on = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (switch, schedule) = (Arc::clone(&is_on), world.schedule.clone());
        let current: CurrentSchedule = Arc::new(move || Schedule {
            enabled: switch.load(std::sync::atomic::Ordering::Relaxed),
            ..schedule.clone()
        });
        let instance = OpenSales::new(world.ports(), current);

        let before = world.run(&instance).await;
        is_on.store(true, std::sync::atomic::Ordering::Relaxed);

        assert!(before.is_empty());
        assert_eq!(world.run(&instance).await, [10 * 3_600, 11 * 3_600]);
    }

    #[tokio::test]
    async fn starts_of_a_denser_schedule_are_new_after_the_old_one_is_forgotten() {
        let world = World::at(TEN_TO_ELEVEN);
        let every = |hours: i64| {
            let calendar = Arc::new(FakeCalendar { period_seconds: hours * 3_600 });
            let ports = OpenSalesPorts { calendar, ..world.ports() };
            OpenSales::new(ports, always(&world.schedule))
        };
        let (sparse, dense) = (every(2), every(1));
        assert_eq!(world.run(&sparse).await, [10 * 3_600, 12 * 3_600]);
        // The calendar of an instance changes, and what it remembers does not.
        *dense.last_created.lock().unwrap() = *sparse.last_created.lock().unwrap();
        assert!(world.run(&dense).await.is_empty());

        dense.forget();

        assert_eq!(world.run(&dense).await, [11 * 3_600]);
    }

    #[tokio::test]
    async fn a_service_that_starts_at_ten_to_eleven_opens_the_ten_oclock_sale_and_creates_the_next()
    {
        let world = World::at(TEN_TO_ELEVEN);

        let created = world.run(&world.instance(1)).await;

        assert_eq!(created, [10 * 3_600, 11 * 3_600]);
    }

    #[tokio::test]
    async fn a_created_sale_is_cached_with_the_settings_of_the_schedule() {
        let world = World::at(TEN_TO_ELEVEN);
        world.run(&world.instance(1)).await;

        let open = world.test_shop.sale_cache.open();

        let sale = &open[0].sale;
        assert_eq!((open.len(), sale.scheduled, sale.items, sale.buyer_limit), (1, true, 3, 10));
        assert_eq!(sale.window.ends_at(), at(11 * 3_600));
    }

    #[tokio::test]
    async fn an_existing_sale_is_not_created_again() {
        let world = World::at(TEN_TO_ELEVEN);
        world.run(&world.instance(1)).await;

        assert_eq!(world.run(&world.instance(2)).await, [0; 0]);
    }

    #[tokio::test]
    async fn only_the_leader_creates_the_next_sale_ahead() {
        let world = World::at(TEN_TO_ELEVEN);
        world.terms.instance(1).lead("schedule", TERM).await.unwrap();

        let follower = world.run(&world.instance(2)).await;
        let leader = world.run(&world.instance(1)).await;

        assert_eq!((follower, leader), (vec![10 * 3_600], vec![11 * 3_600]));
    }

    #[tokio::test]
    async fn shortly_before_its_start_every_instance_creates_a_missing_sale() {
        let world = World::at(11 * 3_600 - 59);

        let created = world.run(&world.on(world.test_shop.shop(), leads(|| Ok(false)))).await;

        assert_eq!(created, [10 * 3_600, 11 * 3_600]);
    }

    #[tokio::test]
    async fn without_leadership_every_instance_creates_sales() {
        let world = World::at(TEN_TO_ELEVEN);

        let created =
            world.run(&world.on(world.test_shop.shop(), leads(|| Err(unavailable())))).await;

        assert_eq!(created, [10 * 3_600, 11 * 3_600]);
    }

    #[tokio::test]
    async fn two_leaders_at_once_create_one_sale_per_start() {
        let world = World::at(TEN_TO_ELEVEN);
        // Both read the sales before either creates one.
        let mut blind = MockSaleStore::new();
        let shop = world.test_shop.shop();
        blind.expect_live().returning(|| Ok(Vec::new()));
        blind.expect_create().returning(move |new, actor| Ok(shop.put_unless_taken(new, actor)));
        let both = world.on(Arc::new(blind), leads(|| Ok(true)));

        let first = world.run(&both).await;
        let second = world.run(&both).await;

        assert_eq!((first.len(), second.len()), (2, 0));
        assert_eq!(world.number_of_sales().await, 2);
    }

    #[tokio::test]
    async fn between_short_sales_no_past_sale_is_created() {
        let mut world = World::at(TEN_TO_ELEVEN);
        world.schedule.duration = HOUR / 2;

        assert_eq!(world.run(&world.instance(1)).await, [11 * 3_600]);
    }

    #[tokio::test]
    async fn all_overlapping_sales_that_are_open_are_created() {
        let mut world = World::at(TEN_TO_ELEVEN);
        world.schedule.duration = 2 * HOUR;

        let created = world.run(&world.instance(1)).await;

        assert_eq!(created, [9 * 3_600, 10 * 3_600, 11 * 3_600]);
    }

    #[tokio::test]
    async fn an_operators_sale_does_not_replace_a_scheduled_sale() {
        let world = World::at(TEN_TO_ELEVEN);
        let window = SaleWindow::lasting(at(10 * 3_600), HOUR).unwrap();
        let new = a_new_sale(3, window);
        world.test_shop.sale_like(new).await;

        assert_eq!(world.run(&world.instance(1)).await, [10 * 3_600, 11 * 3_600]);
    }

    #[tokio::test]
    async fn before_the_clock_is_measured_no_sale_is_created() {
        let world = World::at(TEN_TO_ELEVEN);
        world.test_shop.clock.set_unmeasured();

        assert_eq!(world.run(&world.instance(1)).await, [0; 0]);
    }

    #[tokio::test]
    async fn a_schedule_without_starts_creates_nothing() {
        let world = World::at(TEN_TO_ELEVEN);
        let mut never = MockCalendar::new();
        never.expect_last_start().returning(|_| None);
        never.expect_next_start().returning(|_| None);
        let ports = OpenSalesPorts { calendar: Arc::new(never), ..world.ports() };

        let idle = OpenSales::new(ports, always(&world.schedule));

        assert_eq!(world.run(&idle).await, [0; 0]);
    }

    #[tokio::test]
    async fn sales_that_cannot_be_read_or_written_are_an_error() {
        let world = World::at(TEN_TO_ELEVEN);
        let mut unreadable = MockSaleStore::new();
        unreadable.expect_live().returning(|| Err(unavailable()));
        let mut unwritable = MockSaleStore::new();
        unwritable.expect_live().returning(|| Ok(Vec::new()));
        unwritable.expect_create().returning(|_, _| Err(unavailable()));

        for store in [unreadable, unwritable] {
            let instance = world.on(Arc::new(store), leads(|| Ok(true)));
            let failed = instance.execute().await;
            assert!(matches!(failed, Err(OpenSalesError::Port(_))));
        }
    }

    #[tokio::test]
    async fn a_schedule_out_of_bounds_is_an_error() {
        let mut world = World::at(TEN_TO_ELEVEN);
        world.schedule.stock = 0;

        let failed = world.instance(1).execute().await;

        assert!(matches!(failed, Err(OpenSalesError::Invalid(InvalidSale::Stock))));
    }

    #[tokio::test]
    async fn a_next_start_that_is_days_away_is_created_once() {
        let world = World::at(TEN_TO_ELEVEN);
        let mut weekly = MockSaleStore::new();
        let shop = world.test_shop.shop();
        weekly.expect_live().returning(|| Ok(Vec::new()));
        weekly
            .expect_create()
            .once()
            .returning(move |new, actor| Ok(shop.put_unless_taken(new, actor)));
        let ports = OpenSalesPorts {
            sales: Arc::new(weekly),
            calendar: Arc::new(FakeCalendar { period_seconds: 7 * 24 * 3_600 }),
            leadership: leads(|| Ok(true)),
            ..world.ports()
        };
        let instance = OpenSales::new(ports, always(&world.schedule));

        world.run(&instance).await;

        assert_eq!(world.run(&instance).await, [0; 0]);
    }
}
