//! What every [`RefusalStore`] guarantees.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;

use crate::application::ports::{
    Operation, Refusal, RefusalFlush, RefusalReason, RefusalStore, RefusalTotal,
};
use crate::domain::ids::{RequestId, SaleId};
use crate::testing::builders::{at, attempt_id, buyer, item_id, sale_id};
use crate::testing::fakes::FakeRefusals;

macro_rules! refusal_store_contract {
    ($world:expr) => {
        $crate::testing::contracts::cases! { refusal_store in $world =>
            a_flush_is_on_record_with_its_totals_and_details
            a_repeated_flush_counts_once
            flushes_of_one_instance_add_up
            flushes_of_many_instances_at_once_add_up_exactly
            details_that_were_shed_are_counted_all_the_same
        }
    };
}
pub(crate) use refusal_store_contract;

/// A store that any number of instances write.
#[async_trait]
pub(crate) trait RefusalWorld: Send + Sync {
    /// One more run of an instance.
    async fn instance(&self) -> Arc<dyn RefusalStore>;

    /// A sale that exists.
    async fn sale(&self) -> SaleId;

    /// The stored totals of a sale, sorted.
    async fn totals(&self, sale: SaleId) -> Vec<RefusalTotal>;

    /// The stored details of a sale, in any order.
    async fn details(&self, sale: SaleId) -> Vec<Refusal>;
}

/// `total` refusals for each of two reasons; `detailed` of each have details.
pub(crate) fn flush(sale: SaleId, sequence: i64, total: i64, detailed: i64) -> RefusalFlush {
    let reasons = [RefusalReason::ItemSoldOut, RefusalReason::BuyerLimit];
    let operation = Operation::Checkout;
    let refusal = |reason| Refusal {
        sale,
        operation,
        reason,
        buyer: Some(buyer("ann")),
        item: Some(item_id("17")),
        attempt: None,
        refused_at: at(1_000),
        request: None,
    };
    RefusalFlush {
        sequence,
        totals: reasons
            .map(|reason| RefusalTotal { sale, operation, reason, total, detailed })
            .to_vec(),
        details: reasons
            .iter()
            .flat_map(|reason| (0..detailed).map(|_| refusal(*reason)))
            .collect(),
        answered: Vec::new(),
    }
}

async fn counts(world: &dyn RefusalWorld, sale: SaleId) -> Vec<(i64, i64)> {
    world.totals(sale).await.iter().map(|total| (total.total, total.detailed)).collect()
}

pub(crate) async fn a_flush_is_on_record_with_its_totals_and_details(world: &dyn RefusalWorld) {
    let sale = world.sale().await;
    let purchase = Refusal {
        sale,
        operation: Operation::Purchase,
        reason: RefusalReason::Ended,
        buyer: None,
        item: None,
        attempt: Some(attempt_id(5)),
        refused_at: at(2_000),
        request: RequestId::parse("r-5"),
    };
    let total = RefusalTotal {
        sale,
        operation: Operation::Purchase,
        reason: RefusalReason::Ended,
        total: 1,
        detailed: 1,
    };
    let flush = RefusalFlush {
        sequence: 1,
        totals: vec![total],
        details: vec![purchase.clone()],
        answered: Vec::new(),
    };

    world.instance().await.append(&flush).await.unwrap();

    assert_eq!(world.totals(sale).await, [total]);
    assert_eq!(world.details(sale).await, [purchase]);
}

pub(crate) async fn a_repeated_flush_counts_once(world: &dyn RefusalWorld) {
    let sale = world.sale().await;
    let store = world.instance().await;

    for sequence in [1, 1, 2, 2, 2] {
        store.append(&flush(sale, sequence, 3, 2)).await.unwrap();
    }

    assert_eq!(counts(world, sale).await, [(6, 4), (6, 4)]);
    assert_eq!(world.details(sale).await.len(), 8);
}

pub(crate) async fn flushes_of_one_instance_add_up(world: &dyn RefusalWorld) {
    let sale = world.sale().await;
    let store = world.instance().await;

    for sequence in 1..=4 {
        store.append(&flush(sale, sequence, sequence, 1)).await.unwrap();
    }

    assert_eq!(counts(world, sale).await, [(10, 4), (10, 4)]);
}

pub(crate) async fn flushes_of_many_instances_at_once_add_up_exactly(world: &dyn RefusalWorld) {
    let sale = world.sale().await;
    let mut stores = Vec::new();
    for _ in 0..4 {
        stores.push(world.instance().await);
    }

    for sequence in 1..=5 {
        let flush = flush(sale, sequence, 7, 1);
        let all = join_all(stores.iter().map(|store| store.append(&flush))).await;
        assert!(all.iter().all(Result::is_ok), "{all:?}");
    }

    assert_eq!(counts(world, sale).await, [(140, 20), (140, 20)]);
}

pub(crate) async fn details_that_were_shed_are_counted_all_the_same(world: &dyn RefusalWorld) {
    let sale = world.sale().await;

    world.instance().await.append(&flush(sale, 1, 100, 0)).await.unwrap();

    assert_eq!(counts(world, sale).await, [(100, 0), (100, 0)]);
}

/// The fake's store.
#[derive(Default)]
pub(crate) struct FakeRefusalWorld {
    refusals: Arc<FakeRefusals>,
    instances: std::sync::atomic::AtomicU32,
}

#[async_trait]
impl RefusalWorld for FakeRefusalWorld {
    async fn instance(&self) -> Arc<dyn RefusalStore> {
        let number = self.instances.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.refusals.instance(number)
    }

    async fn sale(&self) -> SaleId {
        sale_id(1)
    }

    async fn totals(&self, sale: SaleId) -> Vec<RefusalTotal> {
        self.refusals.totals(sale)
    }

    async fn details(&self, sale: SaleId) -> Vec<Refusal> {
        self.refusals.details(sale)
    }
}

#[cfg(test)]
mod fake {
    super::refusal_store_contract!(super::FakeRefusalWorld::default());
}
