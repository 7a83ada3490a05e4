//! What every [`HealthCheck`] keeps.

use crate::application::ports::{Health, HealthCheck};

async fn what_works_is_up_under_a_name(check: &dyn HealthCheck) {
    assert!(!check.name().is_empty());
    assert_eq!(check.check().await, Health::Up);
}

async fn what_is_away_is_not_up(check: &dyn HealthCheck) {
    assert_ne!(check.check().await, Health::Up);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::MemoryReader;
    use crate::infrastructure::cache::{RedisHealth, RedisMemoryReader};
    use crate::infrastructure::persistence::PostgresHealth;
    use crate::testing::builders::sale_id;
    use crate::testing::fakes::FakeHealthCheck;
    use crate::testing::servers::{PostgresShop, RedisWorld};

    #[tokio::test]
    async fn up_is_told() {
        let shop = PostgresShop::open().await;
        let database = shop.database().await;
        let (redis, _) = RedisWorld::open().connect();

        what_works_is_up_under_a_name(&FakeHealthCheck { is_up: true }).await;
        what_works_is_up_under_a_name(&PostgresHealth::new(database)).await;
        what_works_is_up_under_a_name(&RedisHealth::new(redis)).await;
    }

    #[tokio::test]
    async fn away_is_told() {
        let shop = PostgresShop::open().await;
        let database = shop.database().await;
        database.close().await;
        let (redis, _) = RedisWorld::nowhere().connect();
        // It is noticed by whoever asks Redis first.
        RedisMemoryReader::new(redis.clone()).remembered(sale_id(1)).await.unwrap_err();

        what_is_away_is_not_up(&FakeHealthCheck { is_up: false }).await;
        what_is_away_is_not_up(&PostgresHealth::new(database)).await;
        what_is_away_is_not_up(&RedisHealth::new(redis)).await;
    }
}
