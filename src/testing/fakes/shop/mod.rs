//! A shop in memory: the state that PostgreSQL stores, for every port that reads or writes it, under one Mutex.

mod checkout_store;
mod idempotency_store;
mod inspector;
mod item_reader;
mod ledger;
mod purchase_history;
mod sale_store;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};

use super::clock::FakeClock;
use crate::application::ports::{Done, PortError};
use crate::domain::checkout::Line;
use crate::domain::ids::{AttemptId, BuyerId, IdempotencyKey, ItemNo, SaleId};
use crate::domain::purchase::Outcome;
use crate::domain::sale::{NewSale, Sale, SaleState, SaleWindow};

/// One database. Its time is the true time of the clock.
pub(crate) struct FakeShop {
    clock: Arc<FakeClock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sales: BTreeMap<SaleId, SaleData>,
    archived: BTreeSet<SaleId>,
    last_attempt: i64,
    last_version: i64,
    keys: HashMap<(BuyerId, IdempotencyKey), UsedKey>,
}

/// What a key was used for, and when.
struct UsedKey {
    content: Arc<str>,
    done: Done,
    at: DateTime<Utc>,
}

/// A sale and everything that happened in it.
struct SaleData {
    sale: Sale,
    created_by: String,
    stock: BTreeMap<ItemNo, Stock>,
    buyers: HashMap<BuyerId, Buyer>,
    attempts: HashMap<AttemptId, Attempt>,
    outcomes: BTreeMap<AttemptId, Arc<Outcome>>,
}

#[derive(Debug, Clone, Copy)]
struct Stock {
    pieces: i32,
    sold: i32,
}

#[derive(Debug, Default)]
struct Buyer {
    open: Option<AttemptId>,
    bought: i32,
}

#[derive(Debug)]
struct Attempt {
    buyer: BuyerId,
    lines: Vec<Line>,
}

impl FakeShop {
    pub(crate) fn new(clock: Arc<FakeClock>) -> Arc<Self> {
        Arc::new(Self { clock, state: Mutex::default() })
    }

    /// Creates a sale without the checks of the port.
    pub(crate) fn put(&self, new: &NewSale, actor: &str) -> Sale {
        self.state.lock().unwrap().put(new, actor)
    }

    /// Archives a sale.
    pub(crate) fn archive(&self, sale: SaleId) {
        let mut state = self.state.lock().unwrap();
        state.sales.remove(&sale).unwrap();
        state.archived.insert(sale);
    }

    pub(crate) fn set_stock(&self, sale: SaleId, item: ItemNo, pieces: i32) {
        self.change(sale, |data| {
            data.stock.get_mut(&item).unwrap().pieces = pieces;
            data.sale.generation += 1;
        });
    }

    /// Claims another number of items than the sale has.
    pub(crate) fn set_items(&self, sale: SaleId, items: i32) {
        self.change(sale, |data| data.sale.items = items);
    }

    pub(crate) fn move_window(&self, sale: SaleId, window: SaleWindow) {
        self.change(sale, |data| {
            data.sale.window = window;
            data.sale.generation += 1;
        });
    }

    /// Adds an attempt of a buyer beside the open one.
    pub(crate) fn extra_attempt(&self, sale: SaleId, buyer: BuyerId, lines: &[Line]) -> AttemptId {
        let mut state = self.state.lock().unwrap();
        let id = state.next_attempt();
        let data = state.sales.get_mut(&sale).unwrap();
        data.buyers.entry(buyer.clone()).or_default();
        data.attempts.insert(id, Attempt { buyer, lines: lines.to_vec() });
        id
    }

    pub(crate) fn created_by(&self, sale: SaleId) -> String {
        self.state.lock().unwrap().sales[&sale].created_by.clone()
    }

    fn change(&self, sale: SaleId, change: impl FnOnce(&mut SaleData)) {
        change(self.state.lock().unwrap().sales.get_mut(&sale).unwrap());
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.truth()
    }

    fn state_of(&self, sale: &Sale) -> SaleState {
        sale.window.state_at(self.now())
    }
}

impl State {
    fn put(&mut self, new: &NewSale, actor: &str) -> Sale {
        let number = i64::try_from(self.sales.len() + self.archived.len()).unwrap() + 1;
        let sale = Sale {
            id: SaleId::new(number).unwrap(),
            name: new.name.clone(),
            scheduled: new.scheduled,
            window: new.window,
            buyer_limit: new.buyer_limit,
            items: new.items,
            generation: 1,
        };
        let data = SaleData {
            sale: sale.clone(),
            created_by: actor.to_owned(),
            stock: (1..=new.items)
                .map(|item| (ItemNo(item), Stock { pieces: new.stock, sold: 0 }))
                .collect(),
            buyers: HashMap::new(),
            attempts: HashMap::new(),
            outcomes: BTreeMap::new(),
        };
        self.sales.insert(sale.id, data);
        sale
    }

    fn next_attempt(&mut self) -> AttemptId {
        self.last_attempt += 1;
        AttemptId::new(self.last_attempt).unwrap()
    }

    /// No two commits get the same microsecond.
    fn next_version(&mut self, now: DateTime<Utc>) -> i64 {
        self.last_version = now.timestamp_micros().max(self.last_version + 1);
        self.last_version
    }

    fn holder(&self, sale: SaleId, attempt: AttemptId) -> Option<BuyerId> {
        Some(self.sales.get(&sale)?.attempts.get(&attempt)?.buyer.clone())
    }

    fn data(&mut self, sale: SaleId) -> Result<&mut SaleData, PortError> {
        let source = "there is no such sale".into();
        self.sales.get_mut(&sale).ok_or(PortError::Broken { what: "the sale", source })
    }
}

impl Stock {
    fn left(self) -> i32 {
        self.pieces - self.sold
    }
}
