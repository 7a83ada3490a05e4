//! The rows of a batch of checkouts: what was read, and what is written, as columns.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::basket::{Baskets, BuyerRow};
use super::decide::SaleFacts;
use crate::application::ports::Collect;
use crate::domain::ids::AttemptId;
use crate::infrastructure::persistence::batch::ctid::Ctid;
use crate::infrastructure::persistence::batch::lines::lines_by_attempt;
use crate::infrastructure::persistence::idempotency::request::MaybeKeyed;
use crate::infrastructure::persistence::row::from_row;

from_row! {
    /// The sale with the current time, the buyers that have a row, and the lines of their open attempts, as columns.
    #[derive(Debug)]
    pub(crate) struct SaleRow {
        pub(crate) starts_at: DateTime<Utc>,
        pub(crate) ends_at: DateTime<Utc>,
        pub(crate) buyer_limit: i32,
        pub(crate) generation: i64,
        pub(crate) now: DateTime<Utc>,
        pub(crate) sold_out: Vec<i32>,
        users: Vec<String>,
        places: Vec<Ctid>,
        versions: Vec<i64>,
        open: Vec<Option<i64>>,
        bought: Vec<i32>,
        attempts: Vec<i64>,
        items: Vec<i32>,
        quantities: Vec<i32>,
    }
}

impl SaleRow {
    /// What the batch is decided on.
    pub(super) fn facts(&self) -> SaleFacts {
        SaleFacts {
            buyer_limit: self.buyer_limit,
            generation: self.generation,
            sold_out: self.sold_out.iter().copied().collect(),
        }
    }

    /// Fills each basket with what was read of its buyer.
    pub(crate) fn fill(&self, baskets: &mut Baskets<'_>) {
        let mut lines = lines_by_attempt(&self.attempts, &self.items, &self.quantities);
        let rows = self.places.iter().zip(&self.versions).zip(self.open.iter().zip(&self.bought));
        for (user, ((ctid, version), (open, bought))) in self.users.iter().zip(rows) {
            let Some(basket) = baskets.get_mut(user.as_str()) else {
                continue;
            };
            basket.row = Some(BuyerRow { place: Some(*ctid), version: *version });
            basket.open = open.and_then(AttemptId::new);
            basket.totals.bought = *bought;
            if let Some(open) = basket.open {
                basket.totals.lines = lines.remove(&open.get()).unwrap_or_default();
            }
        }
    }
}

/// The numbers of the requested items, each once.
pub(super) fn items_of(requests: &[MaybeKeyed<Collect>]) -> Vec<i32> {
    let lines = requests.iter().flat_map(|keyed| keyed.request.edit.lines());
    let items: BTreeSet<i32> = lines.map(|line| line.item.0).collect();
    items.into_iter().collect()
}

/// What is written, as columns; buyers in the order of their bytes.
#[derive(Default)]
pub(crate) struct Columns<'a> {
    pub(crate) new_users: Vec<&'a str>,
    pub(crate) new_attempts: Vec<i64>,
    pub(crate) old_ctids: Vec<Ctid>,
    pub(crate) old_users: Vec<&'a str>,
    pub(crate) old_versions: Vec<i64>,
    pub(crate) old_attempts: Vec<i64>,
    pub(crate) attempts: Vec<i64>,
    pub(crate) attempt_users: Vec<&'a str>,
    pub(crate) new_lines: LineColumns,
    pub(crate) old_lines: LineColumns,
    pub(crate) removed_attempts: Vec<i64>,
    pub(crate) removed_items: Vec<i32>,
}

#[derive(Default)]
pub(crate) struct LineColumns {
    pub(crate) attempts: Vec<i64>,
    pub(crate) items: Vec<i32>,
    pub(crate) quantities: Vec<i32>,
}

impl<'a> Columns<'a> {
    pub(crate) fn of(baskets: &'a Baskets<'_>) -> Self {
        let mut columns = Self::default();
        for (user, basket) in baskets {
            let Some(attempt) = basket.opened.or(basket.open).filter(|_| basket.is_changed())
            else {
                continue;
            };
            match basket.row {
                None => {
                    columns.new_users.push(user);
                    columns.new_attempts.push(attempt.get());
                }
                // Also where the attempt stays the same: the new version shows that its lines have changed.
                Some(row) => {
                    columns.old_ctids.extend(row.place);
                    columns.old_users.push(user);
                    columns.old_versions.push(row.version);
                    columns.old_attempts.push(attempt.get());
                }
            }
            if basket.opened.is_some() {
                columns.attempts.push(attempt.get());
                columns.attempt_users.push(user);
            }
            for (item, line) in &basket.changed {
                match (line.quantity, line.is_stored) {
                    (Some(quantity), true) => columns.old_lines.push(attempt, *item, quantity),
                    (Some(quantity), false) => columns.new_lines.push(attempt, *item, quantity),
                    (None, true) => {
                        columns.removed_attempts.push(attempt.get());
                        columns.removed_items.push(*item);
                    }
                    // The batch both added and removed it.
                    (None, false) => {}
                }
            }
        }
        columns
    }
}

impl LineColumns {
    fn push(&mut self, attempt: AttemptId, item: i32, quantity: i32) {
        self.attempts.push(attempt.get());
        self.items.push(item);
        self.quantities.push(quantity);
    }
}
