//! The rows of a batch of purchases: what it is decided on, and what is written, as columns.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};

use crate::domain::checkout::Line;
use crate::domain::ids::{AttemptId, BuyerId, ItemNo};
use crate::domain::purchase::{LineOutcome, SettledLine};
use crate::domain::settlement::{RemainingStock, Request, Settlement};
use crate::infrastructure::persistence::batch::ctid::Ctid;
use crate::infrastructure::persistence::batch::lines::lines_by_attempt;
use crate::infrastructure::persistence::batch::recent_writes::RememberedBatch;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::purchase::outcomes::letter_of;
use crate::infrastructure::persistence::row::from_row;

from_row! {
    /// What was read for a batch, as columns: the sale with the current time; the items in the attempts' lines that are not sold out,
    /// by number; the attempts with their buyers; the attempts' lines.
    #[derive(Debug)]
    pub(crate) struct SaleRow {
        pub(crate) starts_at: DateTime<Utc>,
        pub(crate) ends_at: DateTime<Utc>,
        pub(crate) generation: i64,
        pub(crate) now: DateTime<Utc>,
        items: Vec<i32>,
        item_places: Vec<Ctid>,
        stock: Vec<i32>,
        sold: Vec<i32>,
        attempts: Vec<i64>,
        users: Vec<String>,
        places: Vec<Ctid>,
        versions: Vec<i64>,
        open: Vec<Option<i64>>,
        bought: Vec<i32>,
        limits: Vec<i32>,
        line_attempts: Vec<i64>,
        line_items: Vec<i32>,
        line_quantities: Vec<i32>,
    }
}

/// The buyer of one attempt: the row as it was read, or as it is remembered.
#[derive(Debug)]
pub(crate) struct KnownBuyer {
    pub(crate) attempt: AttemptId,
    pub(crate) user: BuyerId,
    /// The row's location; `None` if the row is remembered, and so found by its key.
    ctid: Option<Ctid>,
    pub(crate) version: i64,
    pub(crate) open_attempt: Option<i64>,
    pub(crate) bought: i32,
    pub(crate) buyer_limit: i32,
}

impl SaleRow {
    /// Buyers by attempt.
    pub(crate) fn buyers(&self) -> Result<HashMap<AttemptId, KnownBuyer>, DatabaseError> {
        let rows =
            self.attempts.iter().zip(&self.users).zip(self.places.iter().zip(&self.versions));
        let states = self.open.iter().zip(self.bought.iter().zip(&self.limits));
        rows.zip(states)
            .map(|(((attempt, user), (ctid, version)), (open, (bought, limit)))| {
                let attempt = AttemptId::new(*attempt)?;
                let buyer = KnownBuyer {
                    attempt,
                    user: BuyerId::parse(user).ok()?,
                    ctid: Some(*ctid),
                    version: *version,
                    open_attempt: *open,
                    bought: *bought,
                    buyer_limit: *limit,
                };
                Some((attempt, buyer))
            })
            .collect::<Option<_>>()
            .ok_or(DatabaseError::Unreadable("buyers"))
    }

    /// The basis of the decision.
    pub(crate) fn basis(&self) -> Basis {
        let items = self.items.iter().copied().map(ItemNo);
        let left = self.stock.iter().zip(&self.sold).map(|(stock, sold)| stock - sold);
        Basis {
            lines: lines_by_attempt(&self.line_attempts, &self.line_items, &self.line_quantities),
            remaining: items.clone().zip(left).collect(),
            ctids: items.zip(self.item_places.iter().copied()).collect(),
            time: Time::Read(self.now),
            generation: self.generation,
        }
    }
}

/// What a batch is decided on.
#[derive(Debug)]
pub(crate) struct Basis {
    /// Lines by attempt.
    pub(crate) lines: HashMap<i64, Vec<Line>>,
    /// Pieces left by item. An item that is missing is sold out.
    pub(crate) remaining: RemainingStock,
    /// Locations of the items' rows; rows that were not read are found by their keys.
    ctids: HashMap<ItemNo, Ctid>,
    pub(crate) time: Time,
    pub(crate) generation: i64,
}

/// The time of the decision, by the database's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Time {
    /// It was read with everything else.
    Read(DateTime<Utc>),
    /// The writing statement reads it.
    Unread,
}

impl Basis {
    /// A basis of what is remembered, with the buyers. It is only known which items are sold out, not how much is left of the others:
    /// the decision assumes enough of these, and the writing statement checks it.
    pub(crate) fn remembered(remembered: RememberedBatch) -> (Self, Vec<KnownBuyer>) {
        let RememberedBatch { checkouts, sold_out, generation } = remembered;
        let (mut lines, mut remaining) = (HashMap::new(), RemainingStock::new());
        let mut buyers = Vec::with_capacity(checkouts.len());
        for checkout in checkouts {
            let attempt = checkout.attempt.get();
            let items = checkout.lines.iter().map(|line| line.item);
            remaining
                .extend(items.filter(|item| !sold_out.contains(item)).map(|item| (item, i32::MAX)));
            buyers.push(KnownBuyer {
                attempt: checkout.attempt,
                user: checkout.buyer,
                ctid: None,
                version: checkout.version,
                open_attempt: Some(attempt),
                bought: checkout.bought,
                buyer_limit: checkout.limit,
            });
            lines.insert(attempt, checkout.lines);
        }
        let basis =
            Self { lines, remaining, ctids: HashMap::new(), time: Time::Unread, generation };
        (basis, buyers)
    }
}

from_row! {
    /// What was written: when, and the sold items with their counts afterwards.
    #[derive(Debug)]
    pub(crate) struct Written {
        pub(crate) now: DateTime<Utc>,
        items: Vec<i32>,
        stock: Vec<i32>,
        sold: Vec<i32>,
    }
}

impl Written {
    /// Items whose last piece was sold.
    pub(crate) fn sold_out(&self) -> impl Iterator<Item = ItemNo> {
        let counts = self.items.iter().zip(self.stock.iter().zip(&self.sold));
        counts.filter(|(_, (stock, sold))| stock == sold).map(|(item, _)| ItemNo(*item))
    }

    /// Stock and pieces sold, by item.
    pub(crate) fn by_item(&self) -> HashMap<i32, (i32, i32)> {
        let counts = self.stock.iter().copied().zip(self.sold.iter().copied());
        self.items.iter().copied().zip(counts).collect()
    }
}

/// A decision, with everything that it is written from.
#[derive(Clone, Copy)]
pub(crate) struct Decided<'a> {
    pub(crate) buyers: &'a [&'a KnownBuyer],
    pub(crate) requests: &'a [Request],
    pub(crate) basis: &'a Basis,
    pub(crate) settlement: &'a Settlement,
}

#[derive(Default)]
pub(crate) struct StockColumns {
    pub(crate) ctids: Vec<Ctid>,
    pub(crate) items: Vec<i32>,
    pub(crate) pieces: Vec<i32>,
}

#[derive(Default)]
pub(crate) struct BuyerColumns<'a> {
    pub(crate) ctids: Vec<Ctid>,
    pub(crate) users: Vec<&'a str>,
    pub(crate) versions: Vec<i64>,
    pub(crate) pieces: Vec<i32>,
    pub(crate) closes: Vec<Option<i64>>,
}

#[derive(Default)]
pub(crate) struct OutcomeColumns<'a> {
    pub(crate) attempts: Vec<i64>,
    pub(crate) users: Vec<&'a str>,
    pub(crate) totals: Vec<i32>,
    pub(crate) failed: Vec<i32>,
    /// Where its lines begin and end in `items` and `quantities`, counted from 1.
    pub(crate) first_lines: Vec<i32>,
    pub(crate) last_lines: Vec<i32>,
    /// A letter for each of its lines.
    pub(crate) lines: Vec<String>,
    /// Of all outcomes.
    pub(crate) items: Vec<i32>,
    pub(crate) quantities: Vec<i32>,
}

impl OutcomeColumns<'_> {
    /// Adds the lines of the next outcome, by item number.
    fn push_lines(&mut self, lines: &[SettledLine]) {
        let count = |items: &[i32]| i32::try_from(items.len()).unwrap_or(i32::MAX);
        let mut lines: Vec<&SettledLine> = lines.iter().collect();
        lines.sort_unstable_by_key(|line| line.line.item);
        self.first_lines.push(count(&self.items) + 1);
        self.items.extend(lines.iter().map(|line| line.line.item.0));
        self.quantities.extend(lines.iter().map(|line| line.line.quantity.get()));
        self.last_lines.push(count(&self.items));
        self.lines.push(lines.iter().map(|line| letter_of(line.outcome)).collect());
    }
}

impl<'a> Decided<'a> {
    /// The items sold, by number.
    pub(crate) fn stock(&self) -> StockColumns {
        let mut columns = StockColumns::default();
        let sold: BTreeMap<_, _> = self.settlement.sold.iter().collect();
        for (item, pieces) in sold {
            columns.ctids.extend(self.basis.ctids.get(item));
            columns.items.push(item.0);
            columns.pieces.push(*pieces);
        }
        columns
    }

    /// Every buyer once, by the bytes of their ids. Also buyers who bought nothing: their attempts are closed as well.
    pub(crate) fn buyers(&self) -> BuyerColumns<'a> {
        let mut rows: BTreeMap<&'a str, (&'a KnownBuyer, Option<i64>)> = BTreeMap::new();
        for buyer in self.buyers {
            let closes = buyer.open_attempt.filter(|open| *open == buyer.attempt.get());
            let (_, row) = rows.entry(buyer.user.as_str()).or_insert((*buyer, None));
            *row = row.or(closes);
        }
        let mut columns = BuyerColumns::default();
        for (user, (buyer, closes)) in rows {
            columns.ctids.extend(buyer.ctid);
            columns.users.push(user);
            columns.versions.push(buyer.version);
            columns.pieces.push(self.settlement.bought.get(&buyer.user).copied().unwrap_or(0));
            columns.closes.push(closes);
        }
        columns
    }

    pub(crate) fn outcomes(&self) -> OutcomeColumns<'a> {
        let mut columns = OutcomeColumns::default();
        for (buyer, request) in self.buyers.iter().zip(self.requests) {
            let lines = self.settled(request);
            let failed = lines.iter().filter(|line| line.outcome != LineOutcome::Sold).count();
            let sold = lines.iter().filter(|line| line.outcome == LineOutcome::Sold);
            columns.attempts.push(buyer.attempt.get());
            columns.users.push(buyer.user.as_str());
            columns.totals.push(sold.map(|line| line.line.quantity.get()).sum());
            columns.failed.push(i32::try_from(failed).unwrap_or(i32::MAX));
            columns.push_lines(lines);
        }
        columns
    }

    fn settled(&self, request: &Request) -> &'a [SettledLine] {
        self.settlement.decided.get(&request.attempt).map_or(&[], Vec::as_slice)
    }
}
