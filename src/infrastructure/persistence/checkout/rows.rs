//! A batch of checkouts between its rows: what it is decided on, the decision, and what is written, column by column.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};

use crate::application::ports::{Collect, Collected, Edit, StockFacts};
use crate::domain::checkout::{Change, Line, Standing};
use crate::domain::ids::{AttemptId, BuyerId, ItemNo};
use crate::infrastructure::persistence::batch::ctid::Place;
use crate::infrastructure::persistence::batch::lines::lines_by_attempt;

/// The sale as of now, the buyers that have a row, and the lines of their open attempts, column by column.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct SaleRow {
    pub(crate) starts_at: DateTime<Utc>,
    pub(crate) ends_at: DateTime<Utc>,
    pub(crate) buyer_limit: i32,
    pub(crate) generation: i64,
    pub(crate) now: DateTime<Utc>,
    pub(crate) sold_out: Vec<i32>,
    users: Vec<String>,
    places: Vec<Place>,
    versions: Vec<i64>,
    open: Vec<Option<i64>>,
    bought: Vec<i32>,
    attempts: Vec<i64>,
    items: Vec<i32>,
    quantities: Vec<i32>,
}

/// What a buyer has, and what this batch makes of it.
#[derive(Debug)]
pub(crate) struct Basket<'a> {
    pub(crate) buyer: &'a BuyerId,
    /// Where the buyer's row lies and which version it has, if there is one.
    pub(crate) row: Option<(Place, i64)>,
    pub(crate) open: Option<AttemptId>,
    /// The attempt that this batch opens.
    pub(crate) opened: Option<AttemptId>,
    pub(crate) standing: Standing,
    /// What this batch changes, by item.
    changed: BTreeMap<i32, ChangedLine>,
}

/// A line that a batch changes.
#[derive(Debug, Clone, Copy)]
struct ChangedLine {
    /// None: it goes.
    quantity: Option<i32>,
    /// Whether the attempt has a row for the item already.
    is_there: bool,
}

/// The buyers of a batch, by the bytes of their ids.
pub(crate) type Baskets<'a> = BTreeMap<&'a str, Basket<'a>>;

impl SaleRow {
    /// What a buyer's row that is written now gets as its version.
    pub(crate) fn version(&self) -> i64 {
        self.now.timestamp_micros()
    }

    /// Puts into each basket what its buyer has.
    pub(crate) fn fill(&self, baskets: &mut Baskets<'_>) {
        let mut lines = lines_by_attempt(&self.attempts, &self.items, &self.quantities);
        let rows = self.places.iter().zip(&self.versions).zip(self.open.iter().zip(&self.bought));
        for (user, ((place, version), (open, bought))) in self.users.iter().zip(rows) {
            let Some(basket) = baskets.get_mut(user.as_str()) else {
                continue;
            };
            basket.row = Some((*place, *version));
            basket.open = open.and_then(AttemptId::new);
            basket.standing.bought = *bought;
            if let Some(open) = basket.open {
                basket.standing.lines = lines.remove(&open.get()).unwrap_or_default();
            }
        }
    }
}

/// What is written, column by column; buyers in the order of their bytes.
#[derive(Default)]
pub(crate) struct Columns<'a> {
    pub(crate) new_users: Vec<&'a str>,
    pub(crate) new_attempts: Vec<i64>,
    pub(crate) old_places: Vec<Place>,
    pub(crate) old_users: Vec<&'a str>,
    pub(crate) old_versions: Vec<i64>,
    pub(crate) old_attempts: Vec<i64>,
    pub(crate) attempts: Vec<i64>,
    pub(crate) attempt_users: Vec<&'a str>,
    pub(crate) new_lines: LineColumns,
    pub(crate) old_lines: LineColumns,
    /// Lines that go.
    pub(crate) gone_attempts: Vec<i64>,
    pub(crate) gone_items: Vec<i32>,
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
                // Also where the attempt stays: the version tells others that its lines have changed.
                Some((place, version)) => {
                    columns.old_places.push(place);
                    columns.old_users.push(user);
                    columns.old_versions.push(version);
                    columns.old_attempts.push(attempt.get());
                }
            }
            if basket.opened.is_some() {
                columns.attempts.push(attempt.get());
                columns.attempt_users.push(user);
            }
            for (item, line) in &basket.changed {
                match (line.quantity, line.is_there) {
                    (Some(quantity), true) => columns.old_lines.push(attempt, *item, quantity),
                    (Some(quantity), false) => columns.new_lines.push(attempt, *item, quantity),
                    (None, true) => {
                        columns.gone_attempts.push(attempt.get());
                        columns.gone_items.push(*item);
                    }
                    // It came and went within this batch.
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

/// Decides every request in arrival order. `ids` holds a number for each buyer without an open attempt; whose place is in
/// `used` has a key that was used before.
pub(crate) fn decide(
    requests: &[Collect],
    sale: &SaleRow,
    baskets: &mut Baskets<'_>,
    mut ids: Vec<AttemptId>,
    used: &HashSet<usize>,
) -> Vec<Collected> {
    let gone: HashSet<i32> = sale.sold_out.iter().copied().collect();
    let mut replies = Vec::with_capacity(requests.len());
    for (place, request) in requests.iter().enumerate() {
        let reply = match baskets.get_mut(request.buyer.as_str()) {
            _ if used.contains(&place) => Collected::KeyUsed,
            Some(basket) => decide_one(request, (sale, &gone), basket, &mut ids),
            None => Collected::OverLimit,
        };
        replies.push(reply);
    }
    replies
}

fn decide_one(
    request: &Collect,
    (sale, gone): (&SaleRow, &HashSet<i32>),
    basket: &mut Basket<'_>,
    ids: &mut Vec<AttemptId>,
) -> Collected {
    if request.attempt.is_some_and(|meant| basket.attempt() != Some(meant)) {
        return Collected::Closed;
    }
    let wanted = request.edit.lines();
    let sold_out = wanted.iter().map(|line| line.item).filter(|item| gone.contains(&item.0));
    let sold_out: Vec<ItemNo> = sold_out.collect();
    if !sold_out.is_empty() {
        let generation = sale.generation;
        return Collected::SoldOut(StockFacts { generation, sold_out, sold: Vec::new() });
    }
    if !wanted.is_empty() && !basket.standing.fits(wanted, sale.buyer_limit) {
        return Collected::OverLimit;
    }
    let opened = basket.attempt().is_none();
    let Some(attempt) = basket.attempt_or_open(ids) else {
        return Collected::OverLimit;
    };
    let change = basket.edit(&request.edit);
    Collected::Added {
        attempt,
        created: if request.attempt.is_some() { change == Change::Added } else { opened },
        standing: basket.standing.clone(),
        change,
        version: sale.version(),
    }
}

impl<'a> Basket<'a> {
    pub(crate) fn of(buyer: &'a BuyerId) -> Self {
        Self {
            buyer,
            row: None,
            open: None,
            opened: None,
            standing: Standing::default(),
            changed: BTreeMap::new(),
        }
    }

    /// The attempt that is open now.
    pub(crate) fn attempt(&self) -> Option<AttemptId> {
        self.open.or(self.opened)
    }

    /// Whether there is anything to write.
    pub(crate) fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    fn attempt_or_open(&mut self, ids: &mut Vec<AttemptId>) -> Option<AttemptId> {
        if self.attempt().is_none() {
            self.opened = ids.pop();
        }
        self.attempt()
    }

    fn edit(&mut self, edit: &Edit) -> Change {
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
        let change = self.standing.put(line);
        let quantity = Some(line.quantity.get());
        self.changed
            .entry(line.item.0)
            .and_modify(|changed| changed.quantity = quantity)
            .or_insert(ChangedLine { quantity, is_there: change == Change::Replaced });
        change
    }

    fn remove(&mut self, item: ItemNo) {
        let is_there = self.standing.lines.iter().any(|line| line.item == item);
        self.standing.remove(item);
        if is_there {
            self.changed
                .entry(item.0)
                .and_modify(|changed| changed.quantity = None)
                .or_insert(ChangedLine { quantity: None, is_there: true });
        }
    }
}
