//! Buyers whom PostgreSQL refused at the limit, for a second.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::ids::{BuyerId, SaleId};

/// How long a confirmed refusal at the limit is believed.
const CONFIRMED_FOR: Duration = Duration::from_secs(1);
/// Most confirmed refusals that are remembered.
const MAX_CONFIRMED: usize = 10_000;

/// Remembers within bounds. Times are this process's.
#[derive(Debug, Default)]
pub(super) struct ConfirmedRefusals {
    buyers: Mutex<HashMap<(SaleId, BuyerId), Confirmed>>,
}

#[derive(Debug)]
struct Confirmed {
    /// The standing that was believed and confirmed, if one was: with the buyer's next commit it is another one.
    version: Option<i64>,
    at: Duration,
}

impl ConfirmedRefusals {
    /// Whether this very standing was confirmed within the last second.
    pub(super) fn holds(&self, sale: SaleId, buyer: &BuyerId, version: i64, now: Duration) -> bool {
        self.buyers().get(&(sale, buyer.clone())).is_some_and(|confirmed| {
            confirmed.version == Some(version) && now.saturating_sub(confirmed.at) < CONFIRMED_FOR
        })
    }

    /// Whether the buyer was refused, lately or not.
    pub(super) fn has(&self, sale: SaleId, buyer: &BuyerId) -> bool {
        let buyers = self.buyers();
        !buyers.is_empty() && buyers.contains_key(&(sale, buyer.clone()))
    }

    /// The buyer was refused now.
    pub(super) fn remember(
        &self,
        sale: SaleId,
        buyer: &BuyerId,
        version: Option<i64>,
        now: Duration,
    ) {
        let mut buyers = self.buyers();
        if buyers.len() >= MAX_CONFIRMED {
            buyers.clear();
        }
        buyers.insert((sale, buyer.clone()), Confirmed { version, at: now });
    }

    fn buyers(&self) -> MutexGuard<'_, HashMap<(SaleId, BuyerId), Confirmed>> {
        self.buyers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
