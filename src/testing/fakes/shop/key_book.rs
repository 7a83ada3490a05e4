//! The shop's idempotency keys, kept for a day.

use async_trait::async_trait;

use super::FakeShop;
use crate::application::ports::{Caller, KeyBook, KeyState, KeyUse, PortError};

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
