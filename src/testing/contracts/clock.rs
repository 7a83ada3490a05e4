//! What every [`Clock`] guarantees.

use chrono::{DateTime, Utc};

use crate::application::ports::Clock;
use crate::domain::sale::ClockReading;

fn a_clock_that_was_not_measured_knows_no_time(clock: &dyn Clock) {
    assert_eq!(clock.database(), None);
}

/// The reading was taken between these two times of the database.
fn the_truth_lies_within_the_error(
    reading: ClockReading,
    not_before: DateTime<Utc>,
    not_after: DateTime<Utc>,
) {
    let error = chrono::Duration::from_std(reading.error).unwrap();

    assert!(reading.at + error >= not_before, "{reading:?} {not_before}");
    assert!(reading.at - error <= not_after, "{reading:?} {not_after}");
}

fn time_here_only_goes_forward(clock: &dyn Clock) {
    let times: Vec<_> = (0..1_000).map(|_| clock.monotonic()).collect();

    assert!(times.is_sorted());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::application::ports::SaleStore;
    use crate::config::CatalogueConfig;
    use crate::infrastructure::persistence::{DatabaseClock, PostgresSaleStore};
    use crate::testing::builders::at;
    use crate::testing::contracts::ShopWorld;
    use crate::testing::fakes::FakeClock;
    use crate::testing::servers::PostgresShop;

    /// A clock that was measured at the database by reading the live sales.
    async fn measured_at(shop: &PostgresShop) -> Arc<DatabaseClock> {
        let clock = Arc::new(DatabaseClock::new());
        let texts = CatalogueConfig { item_name: "a".to_owned(), image_url: "b".to_owned() };
        let sales = PostgresSaleStore::new(shop.database().await, Arc::clone(&clock), texts);
        sales.live().await.unwrap();
        clock
    }

    #[test]
    fn before_a_measurement_there_is_no_time() {
        let fake = FakeClock::at(at(1_000));
        fake.set_unmeasured();

        a_clock_that_was_not_measured_knows_no_time(&*fake);
        a_clock_that_was_not_measured_knows_no_time(&DatabaseClock::new());
    }

    #[tokio::test]
    async fn after_one_the_truth_lies_within_the_error() {
        let fake = FakeClock::at(at(1_000));
        fake.set_offset(3, Duration::from_secs(3));
        let shop = PostgresShop::open().await;
        let clock = measured_at(&shop).await;

        let before = shop.now().await;
        let reading = clock.database().unwrap();
        let after = shop.now().await;

        the_truth_lies_within_the_error(reading, before, after);
        the_truth_lies_within_the_error(fake.database().unwrap(), fake.truth(), fake.truth());
    }

    #[test]
    fn time_goes_forward() {
        time_here_only_goes_forward(&*FakeClock::at(at(1_000)));
        time_here_only_goes_forward(&DatabaseClock::new());
    }
}
