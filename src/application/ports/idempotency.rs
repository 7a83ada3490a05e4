//! Idempotency keys: a repeated write takes effect once (draft-ietf-httpapi-idempotency-key-header-07).

use std::sync::Arc;

use async_trait::async_trait;

use super::system::PortError;
use crate::domain::checkout::Line;
use crate::domain::ids::{AttemptId, BuyerId, IdempotencyKey, SaleId};

/// An idempotency key and the content of its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedRequest {
    /// The key.
    pub key: IdempotencyKey,
    /// Everything that the request asks for, in canonical form: two texts that differ are two requests.
    pub content: Arc<str>,
}

/// The owner of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A buyer, and the sale that the request names. A key belongs to a buyer in all sales of a cell.
    Buyer(BuyerId, Option<SaleId>),
    /// The buyer of this checkout.
    HolderOf(SaleId, AttemptId),
}

/// The answer to a request with an idempotency key. `N` answers a new request, `R` a repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keyed<N, R = N> {
    /// The key was unused: the request is new.
    New(N),
    /// The same request was executed before with this key.
    Replayed(R),
    /// Another request with this key is running.
    InProgress,
    /// The key was used for a different request.
    ContentMismatch,
    /// The request names a code without a checkout, so the key has no owner.
    UnknownCode,
    /// The request is on behalf of a buyer, and names the code of another.
    OtherBuyer,
}

impl<N, R> Keyed<N, R> {
    /// The answer to a new request; otherwise the same answer, whatever type a new request's has.
    pub fn into_new<M>(self) -> Result<N, Keyed<M, R>> {
        Err(match self {
            Self::New(new) => return Ok(new),
            Self::Replayed(replayed) => Keyed::Replayed(replayed),
            Self::InProgress => Keyed::InProgress,
            Self::ContentMismatch => Keyed::ContentMismatch,
            Self::UnknownCode => Keyed::UnknownCode,
            Self::OtherBuyer => Keyed::OtherBuyer,
        })
    }

    /// The answer to a repeat; otherwise the same answer, whatever type a repeat's has.
    pub fn into_replayed<S>(self) -> Result<R, Keyed<N, S>> {
        Err(match self {
            Self::New(new) => Keyed::New(new),
            Self::Replayed(replayed) => return Ok(replayed),
            Self::InProgress => Keyed::InProgress,
            Self::ContentMismatch => Keyed::ContentMismatch,
            Self::UnknownCode => Keyed::UnknownCode,
            Self::OtherBuyer => Keyed::OtherBuyer,
        })
    }
}

/// An executed request with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Its buyer.
    pub buyer: BuyerId,
    /// The sale.
    pub sale: SaleId,
    /// The checkout.
    pub attempt: AttemptId,
    /// What it did to the checkout.
    pub effect: Effect,
}

/// What a request did to a checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// It was changed.
    Changed {
        /// Whether the request created the checkout, or the line if it named a checkout.
        created: bool,
        /// The checkout's lines afterwards.
        lines: Vec<Line>,
    },
    /// It was purchased; the ledger has the outcome.
    Purchased,
}

/// Reads used keys. The ports that execute requests write the keys, in the same transaction.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait IdempotencyStore: Send + Sync {
    /// Looks the caller's key up; for a new request, returns the caller. MUST find every key whose effect was acknowledged
    /// within the retention time of keys.
    async fn find(
        &self,
        caller: Caller,
        request: KeyedRequest,
    ) -> Result<Keyed<BuyerId, Done>, PortError>;

    /// Deletes expired keys and returns how many. Bounded: it may leave some for the next call.
    async fn prune(&self) -> Result<u64, PortError>;
}

/// A held lock on a key: no other request runs with this key until it is released or expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyLease {
    /// The key's buyer.
    pub buyer: BuyerId,
    /// The key.
    pub key: IdempotencyKey,
    /// The holder; only this owner can release the lock.
    pub owner: String,
}

/// Keeps two requests with the same key from running at the same time. Correctness does not depend on it.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait IdempotencyLock: Send + Sync {
    /// Takes the lock on a key; `None` while another request holds it.
    ///
    /// MUST expire by itself, so that a crashed instance cannot block a key.
    async fn acquire(
        &self,
        buyer: &BuyerId,
        key: &IdempotencyKey,
    ) -> Result<Option<IdempotencyLease>, PortError>;

    /// Releases the lock, best effort. MUST NOT release a lock that another owner holds by now.
    async fn release(&self, lease: IdempotencyLease);
}
