//! A sale in a world, and the few words in which the cases say what happens there.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::{Instance, ShopWorld, Terms};
use crate::application::ports::{Collected, Decision, Settled};
use crate::domain::checkout::{Line, Standing};
use crate::domain::ids::{AttemptId, ItemNo, SaleId};
use crate::domain::purchase::{Fate, Outcome};
use crate::domain::sale::{NewSale, Progress, SaleWindow};
use crate::testing::builders::{buyer, collect, settle_of};

/// How far the ends of a window that is open, past or to come are from now.
const WHILE: chrono::Duration = chrono::Duration::hours(1);

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
            window: SaleWindow::new(now - WHILE, now + WHILE).unwrap(),
            buyer_limit: terms.buyer_limit,
            items: terms.items,
            stock: terms.stock,
        };
        let sale = instance.sales.create(&new, "test").await.unwrap().unwrap().id;
        Self { world, instance, sale }
    }

    /// The same sale at one more instance.
    pub(crate) async fn elsewhere(&self) -> Self {
        let instance = self.world.instance().await;
        Self { world: self.world, instance, sale: self.sale }
    }

    /// The sale has ended, by the database's clock.
    pub(crate) async fn end(&self) {
        let now = self.world.now().await;
        self.world.move_window(self.sale, SaleWindow::new(now - WHILE, now).unwrap()).await;
    }

    /// The sale will only start.
    pub(crate) async fn postpone(&self) {
        let now = self.world.now().await;
        let window = SaleWindow::lasting(now + WHILE, Duration::from_hours(1)).unwrap();
        self.world.move_window(self.sale, window).await;
    }

    pub(crate) async fn collect(&self, who: &str, item: i32, pieces: i32) -> Collected {
        self.instance.book.collect(collect(self.sale, who, item, pieces)).await.unwrap()
    }

    /// What the buyer has after collecting; it must be possible.
    pub(crate) async fn added(&self, who: &str, item: i32, pieces: i32) -> Added {
        match self.collect(who, item, pieces).await {
            Collected::Added { attempt, standing, version, .. } => {
                Added { attempt, standing, version }
            }
            refused => panic!("{who} was refused item {item}: {refused:?}"),
        }
    }

    /// A buyer's open attempt with these lines.
    pub(crate) async fn attempt(&self, who: &str, lines: &[(i32, i32)]) -> AttemptId {
        let mut attempt = None;
        for (item, pieces) in lines {
            attempt = Some(self.added(who, *item, *pieces).await.attempt);
        }
        attempt.unwrap()
    }

    /// An attempt of a buyer beside the open one.
    pub(crate) async fn stray(&self, who: &str, lines: &[Line]) -> AttemptId {
        self.world.stray_attempt(self.sale, &buyer(who), lines).await
    }

    pub(crate) async fn settle(&self, attempt: AttemptId) -> Settled {
        self.instance.ledger.settle(settle_of(self.sale, attempt)).await.unwrap()
    }

    /// What was decided now; it must not have been decided before.
    pub(crate) async fn decided(&self, attempt: AttemptId) -> Decision {
        match self.settle(attempt).await {
            Settled::Now(decision) => decision,
            other => panic!("not decided now: {other:?}"),
        }
    }

    /// Settles all of these at once, each at the instance beside it.
    pub(crate) async fn settle_at_once(attempts: &[(&Scene<'_>, AttemptId)]) -> Vec<Settled> {
        join_all(attempts.iter().map(|(scene, attempt)| scene.settle(*attempt))).await
    }

    pub(crate) async fn progress(&self) -> Progress {
        self.instance.items.progress(self.sale).await.unwrap()
    }
}

/// What [`Collected::Added`] holds.
pub(crate) struct Added {
    pub(crate) attempt: AttemptId,
    pub(crate) standing: Standing,
    pub(crate) version: i64,
}

/// The outcome, however it was told.
pub(crate) fn outcome(settled: &Settled) -> &Arc<Outcome> {
    match settled {
        Settled::Now(decision) => &decision.outcome,
        Settled::Before(outcome) => outcome,
        other => panic!("no outcome: {other:?}"),
    }
}

/// How many were decided now.
pub(crate) fn decided_now(settled: &[Settled]) -> usize {
    settled.iter().filter(|settled| matches!(settled, Settled::Now(_))).count()
}

/// The sold lines of outcomes, as item and pieces, one after the other.
pub(crate) fn sold_lines(settled: &[Settled]) -> Vec<(ItemNo, i32)> {
    settled
        .iter()
        .flat_map(|settled| outcome(settled).sold())
        .map(|settled| (settled.line.item, settled.line.quantity.get()))
        .collect()
}

/// What became of each line, by item number.
pub(crate) fn fates(outcome: &Outcome) -> Vec<(i32, Fate)> {
    outcome.lines.iter().map(|settled| (settled.line.item.0, settled.fate)).collect()
}
