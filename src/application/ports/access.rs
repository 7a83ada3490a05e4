//! Access: who sends a request, and how often. None of it decides what is sold.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::system::PortError;
use crate::domain::ids::BuyerId;
use crate::domain::rate_limit::{Level, RateLimit};

/// Why a token names no buyer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// It is not a token, is not signed by one of the keys, or is not for this service.
    #[error("the token is not valid")]
    Invalid,
    /// It was valid.
    #[error("the token has expired")]
    Expired,
    /// It is not valid yet.
    #[error("the token is not valid yet")]
    NotYet,
    /// None of the known keys has the id that it names.
    #[error("the token is signed by an unknown key")]
    UnknownKey,
    /// It is valid, and its `sub` cannot be the id of a buyer.
    #[error("the token's sub is not the id of a buyer")]
    NoBuyer,
}

/// Verifies the tokens of buyers.
#[async_trait]
pub trait TokenVerifier: Send + Sync {
    /// The buyer of a token that was verified before. MUST NOT return one whose token has expired, or whose key was removed.
    fn remembered(&self, token: &str) -> Option<BuyerId>;

    /// The buyer whom a token names. MUST take the algorithm from the key. MAY wait for new keys, a bounded time.
    async fn verify(&self, token: &str) -> Result<BuyerId, InvalidToken>;
}

/// A key of a service that may buy for buyers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceKey {
    /// Its id, which is no secret.
    pub id: String,
    /// Whether it may buy.
    pub may_sell: bool,
}

/// Verifies the keys of services.
#[async_trait]
pub trait ServiceKeys: Send + Sync {
    /// The key that a request presents; `None` if it may not be used.
    async fn verify(&self, presented: &str) -> Result<Option<ServiceKey>, PortError>;

    /// The key with this id, and the secret with which its holder signs; `None` if it may not be used.
    async fn signing_key(&self, id: &str) -> Result<Option<(ServiceKey, Arc<str>)>, PortError>;

    /// Records that the key with this id has signed a request.
    async fn signed(&self, id: &str);
}

/// Remembers the nonces of signed requests.
#[async_trait]
pub trait NonceStore: Send + Sync {
    /// Whether the key has not used this nonce before. MUST return true once for each, as long as a signature is accepted.
    async fn is_first_use(&self, key: &str, nonce: &str) -> Result<bool, PortError>;
}

/// What requests are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitedBy {
    /// The buyer.
    Buyer,
    /// The client's address.
    Address,
    /// The key of the service.
    ApiKey,
    /// The route, for all clients together.
    Route,
}

impl LimitedBy {
    /// All of them; each value is its place in this list.
    pub const ALL: [Self; 4] = [Self::Buyer, Self::Address, Self::ApiKey, Self::Route];

    /// Its name in headers and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Buyer => "buyer",
            Self::Address => "address",
            Self::ApiKey => "api_key",
            Self::Route => "route",
        }
    }
}

/// Bytes that tell one bucket from another.
pub const BUCKET_ID_BYTES: usize = 16;

/// What is counted: the requests of one buyer, address or key, or for one route, by a hash of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bucket {
    /// The kind of name.
    pub by: LimitedBy,
    /// The place of its limit among all: routes have different ones.
    pub limit: u8,
    /// The hash.
    pub id: [u8; BUCKET_ID_BYTES],
}

/// The buckets that a request fills, at most one of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Buckets([Option<Bucket>; LimitedBy::ALL.len()]);

impl Buckets {
    /// Adds a bucket, or replaces that of its kind.
    pub fn set(&mut self, bucket: Bucket) {
        self.0[bucket.by as usize] = Some(bucket);
    }

    /// They, in the order of [`LimitedBy::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = Bucket> + use<> {
        self.0.into_iter().flatten()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}

/// Whether a request is within its limits, and how full its buckets are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Admission {
    /// The limit that refuses it, and the time until the limit would not.
    pub refused: Option<(LimitedBy, Duration)>,
    /// The limits that it was counted by, with the levels.
    pub levels: [Option<(RateLimit, Level)>; LimitedBy::ALL.len()],
}

/// Counts requests, over all instances.
#[async_trait]
pub trait RateLimiter: Send + Sync {
    /// Whether there is any limit now.
    fn is_on(&self) -> bool;

    /// Whether there is a limit of this kind, which all its names share.
    fn has(&self, by: LimitedBy) -> bool;

    /// The bucket of this name; `None` if there is no limit of this kind.
    fn bucket(&self, by: LimitedBy, name: &str) -> Option<Bucket>;

    /// The bucket of a route, without its version; `None` if it has no limit.
    fn bucket_of_route(&self, method: &str, route: &str) -> Option<Bucket>;

    /// The refusal of a request one of whose buckets is known to be full; without I/O. MUST NOT refuse what would be admitted.
    fn refused(&self, buckets: &Buckets) -> Option<Admission>;

    /// Counts a request that is answered from memory, without I/O; `None` if its buckets are so full that only [`Self::admit`]
    /// can tell. Other instances know of it a moment later.
    fn admit_from_memory(&self, buckets: &Buckets) -> Option<Admission>;

    /// Counts a request in all of its buckets, unless it does not fit into one of them: then in none. A few requests MAY be counted a
    /// moment later while the bucket is nearly empty, at the latest with the next request that is not. While the shared count is
    /// unavailable, MUST decide by a share of the limits.
    async fn admit(&self, buckets: &Buckets) -> Admission;

    /// Counts a request that was answered in any case.
    fn count(&self, buckets: &Buckets);
}
