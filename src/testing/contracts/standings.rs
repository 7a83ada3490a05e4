//! What a [`MemoryReader`](crate::application::ports::MemoryReader) and a [`StandingReader`] say of the same buyers: the same,
//! once the memory was told.

use std::sync::Arc;

use super::{MemoryWorld, Mind, Scene, ShopWorld, Terms};

use crate::application::ports::StandingReader;
use crate::domain::sale::Sale;
use crate::testing::builders::buyer;

/// Ann has bought two pieces and collects three, bob collects one; nobody knows of zoe.
async fn the_memory_agrees_with_the_facts(
    shop: &dyn ShopWorld,
    facts: &dyn StandingReader,
    memory: &dyn MemoryWorld,
) {
    let scene = Scene::open(shop, Terms::stocked(5, 10)).await;
    let mind = Mind::of(memory);
    let mind = Mind { sale: Arc::new(Sale { id: scene.sale, ..(*mind.sale).clone() }), ..mind };
    let first = scene.attempt("ann", &[(1, 2)]).await;
    let bought = scene.decided(first).await;
    mind.stands("ann", &[], bought.bought, bought.version);
    for (who, item, pieces) in [("ann", 2, 1), ("ann", 3, 2), ("bob", 1, 1)] {
        let added = scene.added(who, item, pieces).await;
        let lines = added.standing.lines.iter().map(|line| (line.item.0, line.quantity.get()));
        let lines: Vec<_> = lines.collect();
        mind.stands(who, &lines, added.standing.bought, added.version);
    }
    mind.has_arrived().await;
    let buyers = ["bob", "zoe", "ann"].map(buyer);

    let counted = facts.counted(scene.sale, &buyers).await.unwrap();
    let remembered = mind.instance.reader.remembered(scene.sale).await.unwrap();

    let of =
        |who: &str| remembered.iter().find(|one| one.buyer == buyer(who)).map(|one| one.pieces);
    assert_eq!(counted, [1, 0, 5]);
    assert_eq!((of("bob"), of("zoe"), of("ann")), (Some(1), None, Some(5)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infrastructure::persistence::PostgresStandingReader;
    use crate::testing::contracts::FakeShopWorld;
    use crate::testing::fakes::FakeSharedMemory;
    use crate::testing::servers::{PostgresShop, RedisWorld};

    #[tokio::test]
    async fn in_memory_the_memory_agrees_with_the_facts() {
        let shop = FakeShopWorld::open();
        let memory = Arc::<FakeSharedMemory>::default();

        the_memory_agrees_with_the_facts(&shop, &*shop.standings(), &memory).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn redis_agrees_with_postgresql() {
        let shop = PostgresShop::open().await;
        let facts = PostgresStandingReader::new(shop.database().await);

        the_memory_agrees_with_the_facts(&shop, &facts, &RedisWorld::open()).await;
    }
}
