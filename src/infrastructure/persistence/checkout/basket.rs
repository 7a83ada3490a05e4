//! What a buyer has in a sale, and what a batch changes of it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::application::ports::Edit;
use crate::domain::checkout::{BuyerTotals, Change, Line};
use crate::domain::ids::{AttemptId, BuyerId, ItemNo};
use crate::infrastructure::persistence::batch::ctid::Ctid;
use crate::infrastructure::persistence::batch::recent_writes::OpenCheckout;
use crate::infrastructure::persistence::batch::version::next_version;

/// A buyer's state in the sale: as it was read, and then as the batch has changed it.
#[derive(Debug)]
pub(crate) struct Basket<'a> {
    pub(crate) buyer: &'a BuyerId,
    /// The buyer's row, if there is one.
    pub(crate) row: Option<BuyerRow>,
    /// The attempt that was open before the batch.
    pub(crate) open: Option<AttemptId>,
    /// The attempt that the batch opens.
    pub(crate) opened: Option<AttemptId>,
    pub(crate) totals: BuyerTotals,
    /// Lines that the batch changes, by item.
    pub(super) changed: BTreeMap<i32, ChangedLine>,
}

/// A buyer's row before the batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BuyerRow {
    /// Its location, if it was read.
    pub(crate) place: Option<Ctid>,
    pub(crate) version: i64,
}

/// A line that a batch changes.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChangedLine {
    /// `None` removes the line.
    pub(super) quantity: Option<i32>,
    /// Whether the line is stored already.
    pub(super) is_stored: bool,
}

/// The baskets of a batch, by the bytes of the buyers' ids.
pub(crate) type Baskets<'a> = BTreeMap<&'a str, Basket<'a>>;

impl<'a> Basket<'a> {
    pub(crate) fn of(buyer: &'a BuyerId) -> Self {
        Self {
            buyer,
            row: None,
            open: None,
            opened: None,
            totals: BuyerTotals::default(),
            changed: BTreeMap::new(),
        }
    }

    /// Takes over what is remembered of the buyer.
    pub(super) fn recall(&mut self, open: OpenCheckout) {
        self.row = Some(BuyerRow { place: None, version: open.version });
        self.open = Some(open.attempt);
        self.totals = BuyerTotals { lines: open.lines, bought: open.bought };
    }

    /// The attempt that is open after the batch so far.
    pub(crate) fn attempt(&self) -> Option<AttemptId> {
        self.open.or(self.opened)
    }

    /// The version that the buyer's row gets if the batch writes it at this time.
    pub(crate) fn version(&self, now: DateTime<Utc>) -> i64 {
        next_version(self.row.map(|row| row.version), now)
    }

    /// Whether the batch changes a line.
    pub(crate) fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The open attempt, which takes one of the `ids` if it is new.
    pub(super) fn attempt_or_open(&mut self, ids: &mut Vec<AttemptId>) -> Option<AttemptId> {
        if self.attempt().is_none() {
            self.opened = ids.pop();
        }
        self.attempt()
    }

    pub(super) fn edit(&mut self, edit: &Edit) -> Change {
        let mut change = Change::Added;
        match edit {
            Edit::Set(lines) => {
                for line in lines {
                    if self.set(*line) == Change::Replaced {
                        change = Change::Replaced;
                    }
                }
            }
            Edit::Remove(item) => {
                self.remove(*item);
                change = Change::Replaced;
            }
        }
        change
    }

    fn set(&mut self, line: Line) -> Change {
        let change = self.totals.put(line);
        let quantity = Some(line.quantity.get());
        self.changed
            .entry(line.item.0)
            .and_modify(|changed| changed.quantity = quantity)
            .or_insert(ChangedLine { quantity, is_stored: change == Change::Replaced });
        change
    }

    fn remove(&mut self, item: ItemNo) {
        let is_present = self.totals.lines.iter().any(|line| line.item == item);
        self.totals.remove(item);
        if is_present {
            self.changed
                .entry(item.0)
                .and_modify(|changed| changed.quantity = None)
                .or_insert(ChangedLine { quantity: None, is_stored: true });
        }
    }
}
