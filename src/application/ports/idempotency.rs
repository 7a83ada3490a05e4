//! Keys that keep a repeated write from happening twice (draft-ietf-httpapi-idempotency-key-header-07).

use std::sync::Arc;

use async_trait::async_trait;

use super::system::PortError;
use crate::domain::checkout::Line;
use crate::domain::ids::{AttemptId, BuyerId, IdempotencyKey, SaleId};

/// A key, and what it is used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// The key.
    pub key: IdempotencyKey,
    /// All that the request asks for, in one way of writing it: another text is another request.
    pub content: Arc<str>,
}

/// To whom a key belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A buyer.
    Buyer(BuyerId),
    /// The buyer of this checkout.
    HolderOf(SaleId, AttemptId),
}

/// What is known of a caller's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyState {
    /// Nothing so far. This is the caller.
    Unused(BuyerId),
    /// It was used for this very request.
    Done(Done),
    /// It was used for another request.
    OtherContent,
    /// There is no such checkout, and so no caller.
    NoCaller,
}

/// What a request did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Whose it was.
    pub buyer: BuyerId,
    /// The sale.
    pub sale: SaleId,
    /// The checkout.
    pub attempt: AttemptId,
    /// What became of it.
    pub effect: Effect,
}

/// What became of a checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// It was changed.
    Changed {
        /// Whether the request made what it asked for: the checkout, or the line where it named a checkout.
        created: bool,
        /// Its lines after that.
        lines: Vec<Line>,
    },
    /// It was purchased; the ledger knows what that came to.
    Purchased,
}

/// Remembers what keys were used for. They are written by the ports that do what the requests ask for, together with it.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait KeyBook: Send + Sync {
    /// What this key of the caller's stands for. MUST know every key whose effect was acknowledged within the time that
    /// keys are kept.
    async fn find(&self, caller: Caller, wanted: KeyUse) -> Result<KeyState, PortError>;

    /// Forgets keys that were kept for long enough; how many. Bounded: it may leave some for the next time.
    async fn prune(&self) -> Result<u64, PortError>;
}

/// Leave to run a request with a key; somebody else waits until it is given back or has run out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLease {
    /// Whose key.
    pub buyer: BuyerId,
    /// Which.
    pub key: IdempotencyKey,
    /// Who holds it; only this owner can give it back.
    pub owner: String,
}

/// Keeps two requests with the same key from running at a time. Nothing correct rests on it.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait KeyGate: Send + Sync {
    /// Lets a request through; `None` while another one with the same key runs.
    ///
    /// MUST open by itself, so that an instance that died locks nobody out.
    async fn enter(
        &self,
        buyer: &BuyerId,
        key: &IdempotencyKey,
    ) -> Result<Option<KeyLease>, PortError>;

    /// Opens it again, as well as it can. MUST NOT open it for somebody else who is in by now.
    async fn leave(&self, lease: KeyLease);
}
