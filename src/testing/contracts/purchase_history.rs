//! What every [`PurchaseHistory`](crate::application::ports::PurchaseHistory) guarantees.

use super::{Scene, ShopWorld, Terms};
use crate::application::ports::{Cursor, CursorPage, Page, PageRequest, PastPurchase, PurchaseKey};
use crate::domain::ids::{AttemptId, SaleId};
use crate::testing::builders::{buyer, line};

macro_rules! purchase_history_contract {
    ($world:expr) => {
        $crate::testing::contracts::cases! { purchase_history in $world =>
            a_purchase_is_listed_as_it_was_decided
            the_newest_purchase_comes_first
            a_page_is_part_of_the_whole_history
            pages_of_a_cursor_follow_each_other
            a_history_may_be_limited_to_one_sale
            a_buyer_without_purchases_has_no_history
            an_open_checkout_is_no_purchase
        }
    };
}
pub(crate) use purchase_history_contract;

const ALL: PageRequest = PageRequest { page: 1, limit: 100 };

async fn history(scene: &Scene<'_>, sale: Option<SaleId>, page: PageRequest) -> Page<PastPurchase> {
    scene.instance.history.of_buyer(&buyer("ann"), sale, page).await.unwrap()
}

async fn bought(scene: &Scene<'_>, who: &str, items: &[i32]) -> Vec<AttemptId> {
    let mut attempts = Vec::new();
    for item in items {
        let attempt = scene.attempt(who, &[(*item, 1)]).await;
        scene.decided(attempt).await;
        attempts.push(attempt);
    }
    attempts
}

fn attempts(page: &Page<PastPurchase>) -> Vec<AttemptId> {
    page.entries.iter().map(|past| past.attempt).collect()
}

pub(crate) async fn a_purchase_is_listed_as_it_was_decided(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::unique(3)).await;
    bought(&scene, "bob", &[2]).await;
    // Lines that failed are listed too, in the order of the items.
    let attempt = scene.extra_attempt("ann", &[3, 2, 1].map(|item| line(item, 1))).await;
    let outcome = (*scene.decided(attempt).await.outcome).clone();

    let past = history(&scene, None, ALL).await;

    assert_eq!(past.entries, [PastPurchase { sale: scene.sale, attempt, outcome }]);
}

pub(crate) async fn the_newest_purchase_comes_first(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(3, 5)).await;
    let mut made = bought(&scene, "ann", &[1, 2, 3]).await;
    bought(&scene, "bob", &[1]).await;

    let past = history(&scene, None, ALL).await;

    made.reverse();
    assert_eq!((attempts(&past), past.total), (made, 3));
}

pub(crate) async fn a_page_is_part_of_the_whole_history(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(3, 5)).await;
    let made = bought(&scene, "ann", &[1, 2, 3]).await;

    let past = history(&scene, None, PageRequest { page: 2, limit: 2 }).await;

    assert_eq!((attempts(&past), past.total), (vec![made[0]], 3));
}

pub(crate) async fn pages_of_a_cursor_follow_each_other(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(3, 5)).await;
    let elsewhere = Scene::open(world, Terms::stocked(3, 5)).await;
    let mut made = bought(&scene, "ann", &[1, 2]).await;
    made.extend(bought(&elsewhere, "ann", &[1]).await);
    bought(&scene, "bob", &[1]).await;
    made.reverse();
    let list = async |sale, entry, limit| {
        let history = &scene.instance.history;
        history.list(&buyer("ann"), sale, Cursor { entry, limit }).await.unwrap()
    };

    let first = list(None, None, 2).await;
    let second = list(None, first.entries.last().map(PurchaseKey::of), 2).await;
    let of_one = list(Some(scene.sale), None, 9).await;

    let listed = |page: &CursorPage<PastPurchase, PurchaseKey>| {
        page.entries.iter().map(|past| past.attempt).collect::<Vec<_>>()
    };
    assert_eq!((listed(&first), first.next.is_some()), (made[..2].to_vec(), true));
    assert_eq!((listed(&second), second.next.is_some()), (made[2..].to_vec(), false));
    assert_eq!(listed(&of_one), made[1..]);
}

pub(crate) async fn a_history_may_be_limited_to_one_sale(world: &dyn ShopWorld) {
    let one = Scene::open(world, Terms::stocked(3, 5)).await;
    let other = Scene::open(world, Terms::stocked(3, 5)).await;
    bought(&one, "ann", &[1, 2]).await;
    let made = bought(&other, "ann", &[1]).await;

    let past = history(&one, Some(other.sale), ALL).await;

    assert_eq!((attempts(&past), past.total), (made, 1));
}

pub(crate) async fn a_buyer_without_purchases_has_no_history(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(3, 5)).await;
    bought(&scene, "Ann", &[1]).await;

    let past = history(&scene, None, ALL).await;

    assert_eq!((past.entries, past.total), (vec![], 0));
}

pub(crate) async fn an_open_checkout_is_no_purchase(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(3, 5)).await;
    scene.attempt("ann", &[(1, 1)]).await;

    assert_eq!(history(&scene, None, ALL).await.total, 0);
}

#[cfg(test)]
mod fake {
    use crate::testing::contracts::FakeShopWorld;

    super::purchase_history_contract!(FakeShopWorld::open());
}
