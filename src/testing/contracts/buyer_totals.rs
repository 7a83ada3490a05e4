//! A [`HintReader`](crate::application::ports::HintReader) and a [`BuyerTotalsReader`] return the same totals, once the
//! hint cache is up to date.

use std::sync::Arc;

use super::{HintCacheFixture, HintCacheWorld, Scene, ShopWorld, Terms};
use crate::application::ports::BuyerTotalsReader;
use crate::domain::sale::Sale;
use crate::testing::builders::buyer;

/// Ann has bought two pieces and collects three, bob collects one, zoe has no totals.
async fn hints_agree_with_facts(
    shop: &dyn ShopWorld,
    facts: &dyn BuyerTotalsReader,
    hints: &dyn HintCacheWorld,
) {
    let scene = Scene::open(shop, Terms::stocked(5, 10)).await;
    let fixture = HintCacheFixture::of(hints);
    let fixture = HintCacheFixture {
        sale: Arc::new(Sale { id: scene.sale, ..(*fixture.sale).clone() }),
        ..fixture
    };
    let first = scene.attempt("ann", &[(1, 2)]).await;
    let bought = scene.decided(first).await;
    fixture.update_totals("ann", &[], bought.bought, bought.version);
    for (who, item, pieces) in [("ann", 2, 1), ("ann", 3, 2), ("bob", 1, 1)] {
        let added = scene.added(who, item, pieces).await;
        let lines = added.totals.lines.iter().map(|line| (line.item.0, line.quantity.get()));
        let lines: Vec<_> = lines.collect();
        fixture.update_totals(who, &lines, added.totals.bought, added.version);
    }
    fixture.wait_until_written().await;
    let buyers = ["bob", "zoe", "ann"].map(buyer);

    let counted = facts.committed_pieces(scene.sale, &buyers).await.unwrap();
    let remembered = fixture.instance.reader.cached_totals(scene.sale).await.unwrap();

    let of =
        |who: &str| remembered.iter().find(|one| one.buyer == buyer(who)).map(|one| one.pieces);
    assert_eq!(counted, [1, 0, 5]);
    assert_eq!((of("bob"), of("zoe"), of("ann")), (Some(1), None, Some(5)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infrastructure::persistence::PostgresBuyerTotalsReader;
    use crate::testing::contracts::FakeShopWorld;
    use crate::testing::fakes::FakeHintCache;
    use crate::testing::servers::{PostgresShop, RedisWorld};

    #[tokio::test]
    async fn the_fake_hint_cache_agrees_with_the_fake_shop() {
        let shop = FakeShopWorld::open();
        let hints = Arc::<FakeHintCache>::default();

        hints_agree_with_facts(&shop, &*shop.buyer_totals(), &hints).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn redis_agrees_with_postgresql() {
        let shop = PostgresShop::open().await;
        let facts = PostgresBuyerTotalsReader::new(shop.database().await);

        hints_agree_with_facts(&shop, &facts, &RedisWorld::open()).await;
    }
}
