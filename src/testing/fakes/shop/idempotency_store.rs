//! The shop's idempotency keys, kept for a day.

use async_trait::async_trait;

use super::{FakeShop, State, UsedKey};
use crate::application::ports::{Caller, Done, IdempotencyStore, Keyed, KeyedRequest, PortError};
use crate::domain::ids::BuyerId;

impl FakeShop {
    /// Stores the key of an executed request.
    pub(super) fn store_key(&self, state: &mut State, request: KeyedRequest, done: Done) {
        let KeyedRequest { key, content } = request;
        state.keys.insert((done.buyer.clone(), key), UsedKey { content, done, at: self.now() });
    }
}

impl State {
    /// Looks the caller's key up.
    pub(super) fn find_key(&self, caller: Caller, request: &KeyedRequest) -> Keyed<BuyerId, Done> {
        let buyer = match caller {
            Caller::Buyer(buyer, _) => buyer,
            Caller::HolderOf(sale, attempt) => match self.holder(sale, attempt) {
                Some(buyer) => buyer,
                None => return Keyed::UnknownCode,
            },
        };
        match self.keys.get(&(buyer.clone(), request.key.clone())) {
            None => Keyed::New(buyer),
            Some(used) if used.content == request.content => Keyed::Replayed(used.done.clone()),
            Some(_) => Keyed::ContentMismatch,
        }
    }
}

#[async_trait]
impl IdempotencyStore for FakeShop {
    async fn find(
        &self,
        caller: Caller,
        request: KeyedRequest,
    ) -> Result<Keyed<BuyerId, Done>, PortError> {
        Ok(self.state.lock().unwrap().find_key(caller, &request))
    }

    async fn prune(&self) -> Result<u64, PortError> {
        let old = self.now() - chrono::Duration::days(1);
        let mut state = self.state.lock().unwrap();
        let before = state.keys.len();
        state.keys.retain(|_, used| used.at >= old);
        Ok(u64::try_from(before - state.keys.len()).unwrap())
    }
}
