//! What every [`SaleStore`](crate::application::ports::SaleStore) guarantees.

use std::sync::Arc;

use futures_util::future::join_all;

use super::ShopWorld;
use crate::application::ports::{Cursor, CursorPage, SaleFilter, SaleKey, SaleStore};
use crate::domain::ids::{ItemNo, SaleId};
use crate::domain::sale::{NewSale, Sale, SaleState, SaleWindow};
use crate::testing::builders::{a_new_sale, item_id, sale_id};

macro_rules! sale_store_contract {
    ($world:expr) => {
        $crate::testing::contracts::cases! { sale_store in $world =>
            a_sale_is_found_as_it_was_created
            a_number_that_is_no_sale_finds_nothing
            an_archived_sale_is_not_found_and_known_as_archived
            of_several_sales_those_that_exist_are_found
            a_sale_comes_with_all_its_items
            the_creator_of_a_sale_is_on_record
            a_start_of_the_schedule_has_one_sale_however_many_create_it
            sales_beside_the_schedule_may_share_a_start
            live_sales_are_open_or_about_to_be_and_the_earliest_start_comes_first
            the_newest_sales_come_first_page_by_page
            sales_may_be_limited_to_a_state_or_a_time
        }
    };
}
pub(crate) use sale_store_contract;

/// A sale of two hours that starts `hours` from now.
async fn new_sale(world: &dyn ShopWorld, hours: i64) -> NewSale {
    let start = world.now().await + chrono::Duration::hours(hours);
    a_new_sale(3, SaleWindow::new(start, start + chrono::Duration::hours(2)).unwrap())
}

async fn created(world: &dyn ShopWorld, sale: &NewSale) -> SaleId {
    let store = world.instance().await.sales;
    store.create(sale, "test").await.unwrap().unwrap().id
}

pub(crate) async fn a_sale_is_found_as_it_was_created(world: &dyn ShopWorld) {
    let store = world.instance().await.sales;
    let new = NewSale { buyer_limit: 7, stock: 4, ..new_sale(world, 0).await };

    let created = store.create(&new, "test").await.unwrap().unwrap();

    assert_eq!(world.instance().await.sales.find(created.id).await.unwrap(), Some(created.clone()));
    assert_eq!((created.name, created.scheduled, created.window), (new.name, false, new.window));
    assert_eq!((created.buyer_limit, created.items, created.generation), (7, 3, 1));
}

pub(crate) async fn a_number_that_is_no_sale_finds_nothing(world: &dyn ShopWorld) {
    let store = world.instance().await.sales;

    assert_eq!(store.find(sale_id(4_711)).await.unwrap(), None);
}

pub(crate) async fn an_archived_sale_is_not_found_and_known_as_archived(world: &dyn ShopWorld) {
    let store = world.instance().await.sales;
    let [old, other] = [new_sale(world, -9).await, new_sale(world, -9).await];
    let (old, other) = (created(world, &old).await, created(world, &other).await);

    world.archive(old).await;

    assert_eq!(store.find(old).await.unwrap(), None);
    assert_eq!(store.find_all(&[old]).await.unwrap(), []);
    assert!(store.is_archived(old).await.unwrap());
    assert!(store.find(other).await.unwrap().is_some());
    for unknown in [other, sale_id(4_711)] {
        assert!(!store.is_archived(unknown).await.unwrap(), "{unknown}");
    }
}

pub(crate) async fn of_several_sales_those_that_exist_are_found(world: &dyn ShopWorld) {
    let store = world.instance().await.sales;
    // Neither open nor about to be.
    let far = created(world, &new_sale(world, 24 * 30).await).await;
    let past = created(world, &new_sale(world, -9).await).await;

    let found = store.find_all(&[far, sale_id(4_711), past]).await.unwrap();

    let mut found: Vec<_> = found.iter().map(|sale| sale.id).collect();
    found.sort_unstable();
    assert_eq!(found, [far, past]);
}

pub(crate) async fn a_sale_comes_with_all_its_items(world: &dyn ShopWorld) {
    let new = NewSale { items: 250, stock: 4, ..new_sale(world, 0).await };
    let sale = created(world, &new).await;
    let items = world.instance().await.items;

    let catalogue = items.catalogue(sale).await.unwrap();
    let stock = items.stock(sale).await.unwrap();

    let found = (1..=250).all(|no| catalogue.find(&item_id(&no.to_string())) == Some(ItemNo(no)));
    assert!(found && catalogue.len() == 250, "{} items", catalogue.len());
    assert_eq!(stock.pieces, 1_000);
}

pub(crate) async fn the_creator_of_a_sale_is_on_record(world: &dyn ShopWorld) {
    let store = world.instance().await.sales;
    let new = new_sale(world, 0).await;

    let sale = store.create(&new, "ann@shop").await.unwrap().unwrap();

    assert_eq!(world.created_by(sale.id).await, ["ann@shop"]);
}

pub(crate) async fn a_start_of_the_schedule_has_one_sale_however_many_create_it(
    world: &dyn ShopWorld,
) {
    let new = NewSale { scheduled: true, ..new_sale(world, 1).await };
    let stores = [world.instance().await.sales, world.instance().await.sales];
    let callers = stores.iter().cycle().take(8);

    let created = join_all(callers.map(|store| store.create(&new, "schedule"))).await;

    let made: Vec<_> = created.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(
        listed(&stores[0], SaleFilter::default(), Cursor::beginning(10)).await.entries,
        made
    );
    assert_eq!(made.len(), 1);
}

pub(crate) async fn sales_beside_the_schedule_may_share_a_start(world: &dyn ShopWorld) {
    let store = world.instance().await.sales;
    let new = new_sale(world, 1).await;
    created(world, &new).await;
    created(world, &new).await;
    created(world, &NewSale { scheduled: true, ..new }).await;

    assert_eq!(listed(&store, SaleFilter::default(), Cursor::beginning(10)).await.entries.len(), 3);
}

pub(crate) async fn live_sales_are_open_or_about_to_be_and_the_earliest_start_comes_first(
    world: &dyn ShopWorld,
) {
    let store = world.instance().await.sales;
    let mut sales = Vec::new();
    // The last one is not about to open.
    for hours in [1, -1, 3, 0, 24 * 30] {
        sales.push(created(world, &new_sale(world, hours).await).await);
    }

    let live: Vec<_> = store.live().await.unwrap().iter().map(|sale| sale.id).collect();

    assert_eq!(live, [sales[1], sales[3], sales[0], sales[2]]);
}

async fn listed(
    store: &Arc<dyn SaleStore>,
    wanted: SaleFilter,
    after: Cursor<SaleKey>,
) -> CursorPage<Sale, SaleKey> {
    store.list(wanted, after).await.unwrap()
}

fn ids(page: &CursorPage<Sale, SaleKey>) -> Vec<SaleId> {
    page.entries.iter().map(|sale| sale.id).collect()
}

pub(crate) async fn the_newest_sales_come_first_page_by_page(world: &dyn ShopWorld) {
    let store = world.instance().await.sales;
    let mut sales = Vec::new();
    // Two share a start.
    let same = new_sale(world, 3).await;
    for hours in [1, -9, 0] {
        sales.push(created(world, &new_sale(world, hours).await).await);
    }
    sales.push(created(world, &same).await);
    sales.push(created(world, &same).await);

    let first = listed(&store, SaleFilter::default(), Cursor::beginning(2)).await;
    let last = first.entries.last().map(SaleKey::of);
    let second = listed(&store, SaleFilter::default(), Cursor { entry: last, limit: 3 }).await;
    let last = second.entries.last().map(SaleKey::of);
    let third = listed(&store, SaleFilter::default(), Cursor { entry: last, limit: 3 }).await;

    assert_eq!((ids(&first), first.next.is_some()), (vec![sales[4], sales[3]], true));
    assert_eq!((ids(&second), second.next.is_some()), (vec![sales[0], sales[2], sales[1]], false));
    assert_eq!((ids(&third), third.next.is_some()), (vec![], false));
}

pub(crate) async fn sales_may_be_limited_to_a_state_or_a_time(world: &dyn ShopWorld) {
    let store = world.instance().await.sales;
    let mut sales = Vec::new();
    for hours in [5, -1, -9] {
        sales.push(created(world, &new_sale(world, hours).await).await);
    }
    let wanted = [SaleState::Upcoming, SaleState::Open, SaleState::Ended]
        .map(|state| SaleFilter { state: Some(state), since: None });

    for (wanted, sale) in wanted.into_iter().zip(&sales) {
        let found = listed(&store, wanted, Cursor::beginning(9)).await;
        assert_eq!(ids(&found), [*sale], "{wanted:?}");
    }
    let since = Some(world.now().await - chrono::Duration::hours(2));
    let found = listed(&store, SaleFilter { state: None, since }, Cursor::beginning(9)).await;
    assert_eq!(ids(&found), sales[..2]);
}

#[cfg(test)]
mod fake {
    use crate::testing::contracts::FakeShopWorld;

    super::sale_store_contract!(FakeShopWorld::open());
}
