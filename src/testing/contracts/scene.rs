//! A sale in a world, and short forms of the calls that the cases make.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::shop_world::{Instance, ShopWorld, Terms};
use crate::application::ports::{Collected, Decision, Settle, Settled};
use crate::domain::checkout::{BuyerTotals, Line};
use crate::domain::ids::{AttemptId, ItemNo, SaleId};
use crate::domain::purchase::{LineOutcome, Outcome};
use crate::domain::sale::{NewSale, Progress, SaleWindow};
use crate::domain::terms::PurchaseTerms;
use crate::testing::builders::{buyer, collect, settle_of};

/// Distance between now and the ends of a window.
const AN_HOUR: chrono::Duration = chrono::Duration::hours(1);

/// One sale, at one instance.
pub(crate) struct Scene<'w> {
    pub(crate) world: &'w dyn ShopWorld,
    pub(crate) instance: Instance,
    pub(crate) sale: SaleId,
}

impl<'w> Scene<'w> {
    /// A sale that opened an hour ago and is open for another one.
    pub(crate) async fn open(world: &'w dyn ShopWorld, terms: Terms) -> Self {
        let now = world.now().await;
        let instance = world.instance().await;
        let new = NewSale {
            name: "a sale".to_owned(),
            scheduled: false,
            window: SaleWindow::new(now - AN_HOUR, now + AN_HOUR).unwrap(),
            buyer_limit: terms.buyer_limit,
            items: terms.items,
            stock: terms.stock,
        };
        let sale = instance.sales.create(&new, "test").await.unwrap().unwrap().id;
        Self { world, instance, sale }
    }

    /// The same sale at one more instance.
    pub(crate) async fn at_another_instance(&self) -> Self {
        let instance = self.world.instance().await;
        Self { world: self.world, instance, sale: self.sale }
    }

    /// Ends the sale, by the database's clock.
    pub(crate) async fn end(&self) {
        let now = self.world.now().await;
        self.world.move_window(self.sale, SaleWindow::new(now - AN_HOUR, now).unwrap()).await;
    }

    /// Moves the sale's window into the future.
    pub(crate) async fn postpone(&self) {
        let now = self.world.now().await;
        let window = SaleWindow::lasting(now + AN_HOUR, Duration::from_hours(1)).unwrap();
        self.world.move_window(self.sale, window).await;
    }

    pub(crate) async fn collect(&self, who: &str, item: i32, pieces: i32) -> Collected {
        self.instance.checkouts.collect(collect(self.sale, who, item, pieces)).await.unwrap()
    }

    /// Collects, and panics on a refusal.
    pub(crate) async fn added(&self, who: &str, item: i32, pieces: i32) -> Added {
        match self.collect(who, item, pieces).await {
            Collected::Added { attempt, totals, version, .. } => Added { attempt, totals, version },
            refused => panic!("{who} was refused item {item}: {refused:?}"),
        }
    }

    /// Collects these lines, and returns the buyer's open attempt.
    pub(crate) async fn attempt(&self, who: &str, lines: &[(i32, i32)]) -> AttemptId {
        let mut attempt = None;
        for (item, pieces) in lines {
            attempt = Some(self.added(who, *item, *pieces).await.attempt);
        }
        attempt.unwrap()
    }

    /// Adds an attempt of a buyer beside the open one.
    pub(crate) async fn extra_attempt(&self, who: &str, lines: &[Line]) -> AttemptId {
        self.world.extra_attempt(self.sale, &buyer(who), lines).await
    }

    pub(crate) async fn settle(&self, attempt: AttemptId) -> Settled {
        self.instance.ledger.settle(settle_of(self.sale, attempt)).await.unwrap()
    }

    pub(crate) async fn settle_on(&self, attempt: AttemptId, terms: PurchaseTerms) -> Settled {
        let request = Settle { terms: Some(Arc::new(terms)), ..settle_of(self.sale, attempt) };
        self.instance.ledger.settle(request).await.unwrap()
    }

    /// Settles, and panics unless the attempt is decided by this call.
    pub(crate) async fn decided(&self, attempt: AttemptId) -> Decision {
        match self.settle(attempt).await {
            Settled::Now(decision) => decision,
            other => panic!("not decided now: {other:?}"),
        }
    }

    /// Settles these attempts concurrently, each at its instance.
    pub(crate) async fn settle_at_once(attempts: &[(&Scene<'_>, AttemptId)]) -> Vec<Settled> {
        join_all(attempts.iter().map(|(scene, attempt)| scene.settle(*attempt))).await
    }

    pub(crate) async fn progress(&self) -> Progress {
        self.instance.items.progress(&[self.sale]).await.unwrap().remove(0).1
    }
}

/// The fields of [`Collected::Added`].
pub(crate) struct Added {
    pub(crate) attempt: AttemptId,
    pub(crate) totals: BuyerTotals,
    pub(crate) version: i64,
}

/// The outcome, decided now or before.
pub(crate) fn outcome(settled: &Settled) -> &Arc<Outcome> {
    match settled {
        Settled::Now(decision) => &decision.outcome,
        Settled::Before(outcome) => outcome,
        other => panic!("no outcome: {other:?}"),
    }
}

/// How many were decided by these calls.
pub(crate) fn decided_now(settled: &[Settled]) -> usize {
    settled.iter().filter(|settled| matches!(settled, Settled::Now(_))).count()
}

/// The sold lines of all outcomes, as item and pieces.
pub(crate) fn sold_lines(settled: &[Settled]) -> Vec<(ItemNo, i32)> {
    settled
        .iter()
        .flat_map(|settled| outcome(settled).sold())
        .map(|settled| (settled.line.item, settled.line.quantity.get()))
        .collect()
}

/// What became of each line, by item number.
pub(crate) fn line_outcomes(outcome: &Outcome) -> Vec<(i32, LineOutcome)> {
    outcome.lines.iter().map(|settled| (settled.line.item.0, settled.outcome)).collect()
}
