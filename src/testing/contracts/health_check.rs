//! What every [`HealthCheck`] guarantees.

use crate::application::ports::{Health, HealthCheck};

async fn a_working_dependency_is_up_under_a_name(check: &dyn HealthCheck) {
    assert!(!check.name().is_empty());
    assert_eq!(check.check().await, Health::Up);
}

async fn an_unavailable_dependency_is_not_up(check: &dyn HealthCheck) {
    assert_ne!(check.check().await, Health::Up);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::HintReader;
    use crate::infrastructure::cache::{RedisHealth, RedisHintReader};
    use crate::infrastructure::persistence::PostgresHealth;
    use crate::testing::builders::sale_id;
    use crate::testing::fakes::FakeHealthCheck;
    use crate::testing::servers::{PostgresShop, RedisWorld};

    #[tokio::test]
    async fn working_dependencies_are_up() {
        let shop = PostgresShop::open().await;
        let database = shop.database().await;
        let (redis, _) = RedisWorld::open().connect();

        a_working_dependency_is_up_under_a_name(&FakeHealthCheck { is_up: true }).await;
        a_working_dependency_is_up_under_a_name(&PostgresHealth::new(database)).await;
        a_working_dependency_is_up_under_a_name(&RedisHealth::new(redis)).await;
    }

    #[tokio::test]
    async fn unavailable_dependencies_are_not_up() {
        let shop = PostgresShop::open().await;
        let database = shop.database().await;
        database.close().await;
        let (redis, _) = RedisWorld::unreachable().connect();
        // The first failed call opens the circuit.
        RedisHintReader::new(redis.clone()).cached_totals(sale_id(1)).await.unwrap_err();

        an_unavailable_dependency_is_not_up(&FakeHealthCheck { is_up: false }).await;
        an_unavailable_dependency_is_not_up(&PostgresHealth::new(database)).await;
        an_unavailable_dependency_is_not_up(&RedisHealth::new(redis)).await;
    }
}
