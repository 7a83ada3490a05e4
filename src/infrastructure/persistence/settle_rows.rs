//! A batch of purchases between its rows: what was locked, and what is written, column by column.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::error::DatabaseError;
use super::place::Place;
use crate::domain::ids::{AttemptId, BuyerId, ItemNo};
use crate::domain::purchase::{Fate, SettledLine};
use crate::domain::settlement::{Request, Settlement};

/// Buyers whose rows are locked, one for each attempt, column by column.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct BuyerRows {
    attempts: Vec<i64>,
    users: Vec<String>,
    places: Vec<Place>,
    open: Vec<Option<i64>>,
    bought: Vec<i32>,
    limits: Vec<i32>,
}

/// A buyer whose row is locked, for one attempt.
#[derive(Debug)]
pub(super) struct LockedBuyer {
    pub(super) attempt: AttemptId,
    pub(super) user: BuyerId,
    pub(super) place: Place,
    pub(super) open_attempt: Option<i64>,
    pub(super) bought: i32,
    pub(super) buyer_limit: i32,
}

impl BuyerRows {
    /// By attempt.
    pub(super) fn into_buyers(self) -> Result<HashMap<AttemptId, LockedBuyer>, DatabaseError> {
        let rows = self.attempts.iter().zip(&self.users).zip(self.places.iter().zip(&self.open));
        let pieces = self.bought.iter().zip(&self.limits);
        rows.zip(pieces)
            .map(|(((attempt, user), (place, open)), (bought, limit))| {
                let attempt = AttemptId::new(*attempt)?;
                let buyer = LockedBuyer {
                    attempt,
                    user: BuyerId::parse(user).ok()?,
                    place: *place,
                    open_attempt: *open,
                    bought: *bought,
                    buyer_limit: *limit,
                };
                Some((attempt, buyer))
            })
            .collect::<Option<_>>()
            .ok_or(DatabaseError::Unreadable("buyers"))
    }
}

/// The wanted items that are not sold out, locked; the lines that want them; and the sale as of now.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct LockedItems {
    pub(super) starts_at: DateTime<Utc>,
    pub(super) ends_at: DateTime<Utc>,
    pub(super) generation: i64,
    pub(super) now: DateTime<Utc>,
    pub(super) items: Vec<i32>,
    pub(super) places: Vec<Place>,
    pub(super) stock: Vec<i32>,
    pub(super) sold: Vec<i32>,
    pub(super) basket_attempts: Vec<i64>,
    pub(super) basket_items: Vec<i32>,
    pub(super) basket_quantities: Vec<i32>,
}

impl LockedItems {
    pub(super) fn on_shelf(&self) -> impl Iterator<Item = (i32, i32)> {
        let left = self.stock.iter().zip(&self.sold).map(|(stock, sold)| stock - sold);
        self.items.iter().copied().zip(left)
    }
}

/// All that a decision is written from.
pub(super) struct Decided<'a> {
    pub(super) buyers: &'a [&'a LockedBuyer],
    pub(super) requests: &'a [Request],
    pub(super) items: &'a LockedItems,
    pub(super) settlement: &'a Settlement,
}

#[derive(Default)]
pub(super) struct StockColumns {
    pub(super) places: Vec<Place>,
    pub(super) items: Vec<i32>,
    pub(super) pieces: Vec<i32>,
}

#[derive(Default)]
pub(super) struct BuyerColumns<'a> {
    pub(super) places: Vec<Place>,
    pub(super) users: Vec<&'a str>,
    pub(super) pieces: Vec<i32>,
    pub(super) closes: Vec<Option<i64>>,
}

#[derive(Default)]
pub(super) struct OutcomeColumns<'a> {
    pub(super) attempts: Vec<i64>,
    pub(super) users: Vec<&'a str>,
    pub(super) totals: Vec<i32>,
    pub(super) failed: Vec<i32>,
}

#[derive(Default)]
pub(super) struct LineColumns {
    pub(super) attempts: Vec<i64>,
    pub(super) items: Vec<i32>,
    pub(super) quantities: Vec<i32>,
    pub(super) fates: Vec<&'static str>,
}

impl<'a> Decided<'a> {
    /// In the order in which the items were locked: by number.
    pub(super) fn stock(&self) -> StockColumns {
        let mut columns = StockColumns::default();
        for (item, place) in self.items.items.iter().zip(&self.items.places) {
            if let Some(pieces) = self.settlement.sold.get(&ItemNo(*item)) {
                columns.places.push(*place);
                columns.items.push(*item);
                columns.pieces.push(*pieces);
            }
        }
        columns
    }

    /// Every buyer once, also who bought nothing: the attempt is closed all the same.
    pub(super) fn buyers(&self) -> BuyerColumns<'a> {
        let mut columns = BuyerColumns::default();
        let mut rows: HashMap<&BuyerId, usize> = HashMap::new();
        for (locked, request) in self.buyers.iter().zip(self.requests) {
            let closes = locked.open_attempt.filter(|open| *open == locked.attempt.get());
            let row = *rows.entry(&request.buyer).or_insert_with(|| {
                columns.places.push(locked.place);
                columns.users.push(locked.user.as_str());
                columns
                    .pieces
                    .push(self.settlement.bought.get(&request.buyer).copied().unwrap_or(0));
                columns.closes.push(None);
                columns.closes.len() - 1
            });
            columns.closes[row] = columns.closes[row].or(closes);
        }
        columns
    }

    pub(super) fn outcomes(&self) -> OutcomeColumns<'a> {
        let mut columns = OutcomeColumns::default();
        for (locked, request) in self.buyers.iter().zip(self.requests) {
            let lines = self.settled(request);
            let failed = lines.iter().filter(|line| line.fate != Fate::Sold).count();
            let sold = lines.iter().filter(|line| line.fate == Fate::Sold);
            columns.attempts.push(locked.attempt.get());
            columns.users.push(locked.user.as_str());
            columns.totals.push(sold.map(|line| line.line.quantity.get()).sum());
            columns.failed.push(i32::try_from(failed).unwrap_or(i32::MAX));
        }
        columns
    }

    pub(super) fn lines(&self) -> LineColumns {
        let mut columns = LineColumns::default();
        for request in self.requests {
            for settled in self.settled(request) {
                columns.attempts.push(request.attempt.get());
                columns.items.push(settled.line.item.0);
                columns.quantities.push(settled.line.quantity.get());
                columns.fates.push(settled.fate.as_str());
            }
        }
        columns
    }

    fn settled(&self, request: &Request) -> &'a [SettledLine] {
        self.settlement.decided.get(&request.attempt).map_or(&[], Vec::as_slice)
    }
}
