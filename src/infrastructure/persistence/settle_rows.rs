//! A batch of purchases between its rows: what was locked, and what is written, column by column.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use crate::domain::ids::{BuyerId, ItemNo};
use crate::domain::purchase::{Fate, SettledLine};
use crate::domain::settlement::{Request, Settlement};

/// A buyer whose row is locked, for one attempt.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct LockedBuyer {
    pub(super) attempt_id: i64,
    pub(super) user_id: String,
    pub(super) place: String,
    pub(super) open_attempt: Option<i64>,
    pub(super) bought: i32,
    pub(super) buyer_limit: i32,
}

/// The wanted items that are not sold out, locked; and the sale as of now.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct LockedItems {
    pub(super) starts_at: DateTime<Utc>,
    pub(super) ends_at: DateTime<Utc>,
    pub(super) generation: i64,
    pub(super) now: DateTime<Utc>,
    pub(super) items: Vec<i32>,
    pub(super) places: Vec<String>,
    pub(super) stock: Vec<i32>,
    pub(super) sold: Vec<i32>,
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
pub(super) struct StockColumns<'a> {
    pub(super) places: Vec<&'a str>,
    pub(super) items: Vec<i32>,
    pub(super) pieces: Vec<i32>,
}

#[derive(Default)]
pub(super) struct BuyerColumns<'a> {
    pub(super) places: Vec<&'a str>,
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
    pub(super) fn stock(&self) -> StockColumns<'a> {
        let mut columns = StockColumns::default();
        for (item, place) in self.items.items.iter().zip(&self.items.places) {
            if let Some(pieces) = self.settlement.sold.get(&ItemNo(*item)) {
                columns.places.push(place);
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
            let closes = locked.open_attempt.filter(|open| *open == locked.attempt_id);
            let row = *rows.entry(&request.buyer).or_insert_with(|| {
                columns.places.push(&locked.place);
                columns.users.push(&locked.user_id);
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
            columns.attempts.push(locked.attempt_id);
            columns.users.push(&locked.user_id);
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
