//! The shop's idempotency keys, kept for a day.

use async_trait::async_trait;

use super::FakeShop;
use crate::application::ports::{Caller, Done, KeyBook, KeyState, KeyUse, PortError};
use crate::domain::ids::{BuyerId, IdempotencyKey};

impl FakeShop {
    /// What this key was used for.
    pub(crate) fn done_with(&self, buyer: &BuyerId, key: &IdempotencyKey) -> Done {
        self.state.lock().unwrap().keys[&(buyer.clone(), key.clone())].done.clone()
    }
}

#[async_trait]
impl KeyBook for FakeShop {
    async fn find(&self, caller: Caller, wanted: KeyUse) -> Result<KeyState, PortError> {
        let state = self.state.lock().unwrap();
        let buyer = match caller {
            Caller::Buyer(buyer) => buyer,
            Caller::HolderOf(sale, attempt) => {
                let attempts = state.sales.get(&sale).map(|shelves| &shelves.attempts);
                match attempts.and_then(|attempts| attempts.get(&attempt)) {
                    Some(attempt) => attempt.buyer.clone(),
                    None => return Ok(KeyState::NoCaller),
                }
            }
        };
        Ok(match state.keys.get(&(buyer.clone(), wanted.key)) {
            None => KeyState::Unused(buyer),
            Some(used) if used.content == wanted.content => KeyState::Done(used.done.clone()),
            Some(_) => KeyState::OtherContent,
        })
    }

    async fn prune(&self) -> Result<u64, PortError> {
        let old = self.now() - chrono::Duration::days(1);
        let mut state = self.state.lock().unwrap();
        let before = state.keys.len();
        state.keys.retain(|_, used| used.at >= old);
        Ok(u64::try_from(before - state.keys.len()).unwrap())
    }
}
