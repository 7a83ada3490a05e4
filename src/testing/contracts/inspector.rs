//! What every [`Inspector`] guarantees.

use super::{Scene, ShopWorld, Terms};
use crate::application::ports::Inspector;
use crate::testing::builders::{sale_id, settle_of};

/// [`crate::testing::sabotage`] has the data that breaks each check.
async fn a_sale_that_was_sold_by_the_rules_is_sound(
    world: &dyn ShopWorld,
    inspector: &dyn Inspector,
) {
    let scene = Scene::open(world, Terms::unique(3)).await;
    let bought = scene.added("ann", 1, 1).await.attempt;
    scene.instance.ledger.settle(settle_of(scene.sale, bought)).await.unwrap();
    scene.added("bob", 2, 1).await;

    for sale in [None, Some(scene.sale)] {
        let findings = inspector.inspect(sale).await.unwrap();
        assert!(findings.iter().any(|finding| finding.counted > 0), "{findings:?}");
        assert!(findings.iter().all(|finding| finding.broken == 0), "{findings:?}");
    }
}

async fn of_a_sale_that_does_not_exist_there_is_nothing_to_count(inspector: &dyn Inspector) {
    let findings = inspector.inspect(Some(sale_id(999_999))).await.unwrap();

    assert!(findings.iter().all(|finding| finding.counted == 0), "{findings:?}");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::infrastructure::persistence::PostgresInspector;
    use crate::testing::contracts::FakeShopWorld;
    use crate::testing::servers::PostgresShop;

    #[tokio::test]
    async fn the_fake_finds_a_sound_sale_sound() {
        let world = FakeShopWorld::open();
        let inspector = world.inspector();

        a_sale_that_was_sold_by_the_rules_is_sound(&world, &*inspector).await;
        of_a_sale_that_does_not_exist_there_is_nothing_to_count(&*inspector).await;
    }

    #[tokio::test]
    async fn postgresql_finds_a_sound_sale_sound() {
        let shop = PostgresShop::open().await;
        let inspector = PostgresInspector::new(shop.database().await, Duration::from_mins(1));

        a_sale_that_was_sold_by_the_rules_is_sound(&shop, &inspector).await;
        of_a_sale_that_does_not_exist_there_is_nothing_to_count(&inspector).await;
    }
}
