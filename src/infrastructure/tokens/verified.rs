//! Tokens that were verified before, by their hashes: the signature of a buyer's token is verified once, not for every request.

use std::array;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use lru::LruCache;
use ring::digest::{self, SHA256};

use crate::domain::ids::BuyerId;

/// Parts with a lock each.
const SHARDS: usize = 16;
/// Maximum number of tokens in a part; those that were not used for the longest make room.
const TOKENS_A_SHARD: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();

/// The hash of a token. No other token has the same.
pub(super) type TokenHash = [u8; digest::SHA256_OUTPUT_LEN];

/// The hash of a token. ring computes it with vector instructions, which counts: a token is long, and hashed for every request.
pub(super) fn hash_of(token: &str) -> TokenHash {
    let mut hash = TokenHash::default();
    hash.copy_from_slice(digest::digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

struct Verified {
    buyer: BuyerId,
    /// Unix time in seconds: the last at which it is accepted.
    until: u64,
}

/// Verified tokens, up to a maximum.
pub(super) struct VerifiedTokens {
    shards: [Mutex<LruCache<TokenHash, Verified>>; SHARDS],
}

impl VerifiedTokens {
    pub(super) fn new() -> Self {
        Self { shards: array::from_fn(|_| Mutex::new(LruCache::new(TOKENS_A_SHARD))) }
    }

    /// The buyer of a token that is accepted at this Unix time.
    pub(super) fn find(&self, token: &TokenHash, now: u64) -> Option<BuyerId> {
        let mut shard = self.shard(token).lock().unwrap_or_else(PoisonError::into_inner);
        let verified = shard.get(token)?;
        (now <= verified.until).then(|| verified.buyer.clone())
    }

    pub(super) fn remember(&self, token: TokenHash, buyer: BuyerId, until: u64) {
        let mut shard = self.shard(&token).lock().unwrap_or_else(PoisonError::into_inner);
        shard.put(token, Verified { buyer, until });
    }

    /// Forgets all of them: a key may be gone.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    fn shard(&self, token: &TokenHash) -> &Mutex<LruCache<TokenHash, Verified>> {
        &self.shards[usize::from(token[0]) % SHARDS]
    }
}
