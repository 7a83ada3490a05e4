//! What every [`ItemReader`](crate::application::ports::ItemReader) guarantees.

use super::{Scene, ShopWorld, Terms};
use crate::application::ports::{Cursor, PageRequest, StockedItem};
use crate::domain::ids::ItemNo;
use crate::domain::sale::Progress;
use crate::testing::builders::item_id;

macro_rules! item_reader_contract {
    ($world:expr) => {
        $crate::testing::contracts::cases! { item_reader in $world =>
            an_item_is_the_same_wherever_it_is_read
            items_that_the_sale_does_not_have_are_left_out
            pages_go_by_number
            a_page_past_the_end_is_empty
            available_items_are_those_with_a_piece_left
            pages_of_a_cursor_go_by_number_and_report_whether_there_is_more
            items_are_found_by_their_ids
            progress_counts_pieces
            the_stock_names_sold_out_items
            a_change_of_the_sale_is_a_new_generation_of_its_stock
        }
    };
}
pub(crate) use item_reader_contract;

/// Item 1 is sold out, item 2 has sold one of its two pieces.
async fn half_sold(world: &dyn ShopWorld) -> Scene<'_> {
    let scene = Scene::open(world, Terms::stocked(5, 2)).await;
    let ann = scene.attempt("ann", &[(1, 2), (2, 1)]).await;
    scene.decided(ann).await;
    scene
}

async fn page(scene: &Scene<'_>, available: bool, page: u32, limit: u32) -> Vec<i32> {
    let page = PageRequest { page, limit };
    let page = scene.instance.items.page(scene.sale, available, page).await.unwrap();
    page.iter().map(|entry| entry.item.no.0).collect()
}

pub(crate) async fn an_item_is_the_same_wherever_it_is_read(world: &dyn ShopWorld) {
    let scene = half_sold(world).await;
    let items = &scene.instance.items;
    let catalogue = items.catalogue(scene.sale).await.unwrap();
    let named = items.by_number(scene.sale, &[ItemNo(2)]).await.unwrap();
    let request = PageRequest { page: 2, limit: 1 };
    let page = items.page(scene.sale, false, request).await.unwrap();

    let item = catalogue.item(ItemNo(2)).unwrap();

    assert_eq!(item.id, item_id("2"));
    assert_eq!(named, std::slice::from_ref(&item));
    assert_eq!(page, [StockedItem { item, stock: 2, remaining: 1 }]);
}

pub(crate) async fn items_that_the_sale_does_not_have_are_left_out(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::unique(5)).await;
    let wanted = [ItemNo(4), ItemNo(6), ItemNo(1), ItemNo(-1)];

    let named = scene.instance.items.by_number(scene.sale, &wanted).await.unwrap();

    let mut numbers: Vec<_> = named.iter().map(|item| item.no.0).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 4]);
}

pub(crate) async fn items_are_found_by_their_ids(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::unique(5)).await;
    let wanted = ["4", "6", "1", "01", "\u{e4}"].map(item_id);

    let named = scene.instance.items.by_id(scene.sale, &wanted).await.unwrap();

    let mut numbers: Vec<_> = named.iter().map(|item| item.no.0).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 4]);
    assert!(named.iter().all(|item| item.id.as_str() == item.no.0.to_string()));
}

pub(crate) async fn pages_go_by_number(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::unique(5)).await;

    assert_eq!(page(&scene, false, 2, 2).await, [3, 4]);
}

pub(crate) async fn a_page_past_the_end_is_empty(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::unique(5)).await;

    assert!(page(&scene, false, u32::MAX, 100).await.is_empty());
}

pub(crate) async fn available_items_are_those_with_a_piece_left(world: &dyn ShopWorld) {
    let scene = half_sold(world).await;

    assert_eq!(page(&scene, true, 1, 3).await, [2, 3, 4]);
}

pub(crate) async fn pages_of_a_cursor_go_by_number_and_report_whether_there_is_more(
    world: &dyn ShopWorld,
) {
    let scene = half_sold(world).await;
    let list = async |available, entry: Option<i32>, limit| {
        let after = Cursor { entry: entry.map(ItemNo), limit };
        let page = scene.instance.items.list(scene.sale, available, after).await.unwrap();
        let numbers: Vec<_> = page.entries.iter().map(|entry| entry.item.no.0).collect();
        (numbers, page.next.is_some())
    };

    assert_eq!(list(false, None, 2).await, (vec![1, 2], true));
    assert_eq!(list(false, Some(2), 3).await, (vec![3, 4, 5], false));
    assert_eq!(list(false, Some(5), 3).await, (vec![], false));
    assert_eq!(list(true, None, 2).await, (vec![2, 3], true));
    // The entry need not be in the list any more.
    assert_eq!(list(true, Some(1), 9).await, (vec![2, 3, 4, 5], false));
    let after = Cursor { entry: Some(ItemNo(1)), limit: 1 };
    let whole = scene.instance.items.list(scene.sale, false, after).await.unwrap();
    assert_eq!((whole.entries[0].stock, whole.entries[0].remaining), (2, 1));
    assert_eq!(whole.entries[0].item.id, item_id("2"));
}

pub(crate) async fn progress_counts_pieces(world: &dyn ShopWorld) {
    let (one, other) = (half_sold(world).await, Scene::open(world, Terms::unique(5)).await);

    let both = [other.sale, one.sale];
    let mut progress = one.instance.items.progress(&both).await.unwrap();

    progress.sort_by_key(|(sale, _)| *sale);
    let half_sold = Progress { sold: 3, remaining: 7, available_items: 4 };
    let unsold = Progress { sold: 0, remaining: 5, available_items: 5 };
    assert_eq!(progress, [(one.sale, half_sold), (other.sale, unsold)]);
}

pub(crate) async fn the_stock_names_sold_out_items(world: &dyn ShopWorld) {
    let scene = half_sold(world).await;

    let stock = scene.instance.items.stock(scene.sale).await.unwrap();

    assert_eq!(stock.pieces, 10);
    assert_eq!(stock.facts.sold_out, [ItemNo(1)]);
    assert_eq!(stock.facts.sold, [(ItemNo(1), 2)]);
}

pub(crate) async fn a_change_of_the_sale_is_a_new_generation_of_its_stock(world: &dyn ShopWorld) {
    let scene = half_sold(world).await;
    let before = scene.instance.items.stock(scene.sale).await.unwrap().facts;
    world.set_stock(scene.sale, ItemNo(1), 3).await;

    let after = scene.instance.items.stock(scene.sale).await.unwrap().facts;

    assert!(after.generation > before.generation);
    assert_eq!(after.sold_out, []);
}

#[cfg(test)]
mod fake {
    use crate::testing::contracts::FakeShopWorld;

    super::item_reader_contract!(FakeShopWorld::open());
}
