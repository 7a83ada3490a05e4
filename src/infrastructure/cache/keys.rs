//! Every key in Redis: type, meaning, expiry. All keys of a sale share the hash tag `{sale:ID}`, so that a script's keys lie
//! on one node of a cluster.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use sha2::{Digest, Sha256};

use crate::domain::ids::{AttemptId, BuyerId, IdempotencyKey, SaleId};
use crate::domain::sale::Sale;

/// Bytes of the hash that a gate's key shows: two gates never share it.
const GATE_HASH_BYTES: usize = 16;

/// Makes keys.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: Arc<str>,
    keep_after_sale: Duration,
}

/// The filter of a sale and its totals.
#[derive(Debug, Clone)]
pub(crate) struct FilterKeys {
    /// hash: `current`, `building` (slots), `builder`, `generation`; `run`, `published_at`: its epoch. Expires after the sale.
    pub(crate) filter: String,
    /// string: bits. Expires after the sale.
    pub(crate) slots: [String; 2],
    /// hash: pieces sold by item, `#sold` in all, `#stock` of the sale once the totals are complete; one a generation of
    /// the sale. Expires after the sale.
    pub(crate) totals: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str, keep_after_sale: Duration) -> Self {
        Self { prefix: prefix.into(), keep_after_sale }
    }

    /// string: the owner of the lock on a code. Expires after `redis.lock_ttl`.
    pub(crate) fn lock(&self, sale: SaleId, attempt: AttemptId) -> String {
        self.of_sale(sale, &format!("lock:{}", attempt.get()))
    }

    /// string: the owner of the gate for a buyer's idempotency key, both behind a hash, because they may be long.
    /// Expires after `redis.lock_ttl`.
    pub(crate) fn gate(&self, buyer: &BuyerId, key: &IdempotencyKey) -> String {
        let mut hash = Sha256::new();
        hash.update(buyer.as_str());
        // No id contains it.
        hash.update([0]);
        hash.update(key.as_str());
        let hash = BASE64.encode(&hash.finalize()[..GATE_HASH_BYTES]);
        format!("{}gate:{hash}", self.prefix)
    }

    /// string: the buyer's standing, as `standing.rs` writes it. Expires after the sale.
    pub(crate) fn standing(&self, sale: SaleId, buyer: &BuyerId) -> String {
        let mut key = self.of_sale(sale, "buyer:");
        key.push_str(buyer.as_str());
        key
    }

    /// Glob of all standings of a sale; the prefix may hold letters that mean something in a glob.
    pub(crate) fn all_standings(&self, sale: SaleId) -> String {
        let mut glob = String::new();
        for letter in self.of_sale(sale, "buyer:").chars() {
            if "*?[]\\^-".contains(letter) {
                glob.push('\\');
            }
            glob.push(letter);
        }
        glob.push('*');
        glob
    }

    /// The user id behind a key of [`Self::standing`].
    pub(crate) fn buyer_of<'a>(&self, sale: SaleId, key: &'a str) -> Option<&'a str> {
        key.strip_prefix(&self.of_sale(sale, "buyer:"))
    }

    pub(crate) fn filter(&self, sale: &Sale) -> FilterKeys {
        FilterKeys {
            filter: self.of_sale(sale.id, "filter"),
            slots: [self.of_sale(sale.id, "filter:1"), self.of_sale(sale.id, "filter:2")],
            totals: self.of_sale(sale.id, &format!("totals:{}", sale.generation)),
        }
    }

    /// string: bits of a filter that is not published yet. Expires after a minute.
    pub(crate) fn built(&self, sale: SaleId, builder: &str) -> String {
        self.of_sale(sale, &format!("filter:built:{builder}"))
    }

    /// string: empty; whether Redis can be written to. Expires after ten seconds.
    pub(crate) fn probe(&self) -> String {
        format!("{}probe", self.prefix)
    }

    /// string: the instance that leads in a chore. Expires with its term.
    pub(crate) fn leader(&self, chore: &str) -> String {
        format!("{}leader:{chore}", self.prefix)
    }

    /// Not a key but a channel: what sold out.
    pub(crate) fn news(&self) -> String {
        format!("{}news", self.prefix)
    }

    /// When a sale's keys expire, as unix time in milliseconds.
    pub(crate) fn expire_at(&self, sale: &Sale) -> i64 {
        let keep = i64::try_from(self.keep_after_sale.as_millis()).unwrap_or(i64::MAX);
        sale.window.ends_at().timestamp_millis().saturating_add(keep)
    }

    fn of_sale(&self, sale: SaleId, rest: &str) -> String {
        format!("{}{{sale:{}}}:{rest}", self.prefix, sale.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::new("shop[1]:", Duration::from_mins(1))
    }

    #[test]
    fn keys_of_one_sale_share_their_hash_tag() {
        let sale = SaleId::new(7).unwrap();
        let buyer = BuyerId::parse("ann").unwrap();
        let attempt = AttemptId::new(3).unwrap();

        assert_eq!(keys().standing(sale, &buyer), "shop[1]:{sale:7}:buyer:ann");
        assert_eq!(keys().lock(sale, attempt), "shop[1]:{sale:7}:lock:3");
    }

    #[test]
    fn every_buyer_has_gates_of_their_own() {
        let gate = |buyer: &str, key: &str| {
            let buyer = BuyerId::parse(buyer).unwrap();
            keys().gate(&buyer, &IdempotencyKey::parse(key).unwrap())
        };

        assert!(gate("ann", "bc").starts_with("shop[1]:gate:"));
        assert_ne!(gate("ann", "bc"), gate("annb", "c"));
        assert_eq!(gate("ann", "bc"), gate("ann", "\"bc\""));
    }

    #[test]
    fn a_standing_tells_its_buyer_back() {
        let sale = SaleId::new(7).unwrap();
        let buyer = BuyerId::parse("a:b{c}").unwrap();

        assert_eq!(keys().buyer_of(sale, &keys().standing(sale, &buyer)), Some("a:b{c}"));
    }

    #[test]
    fn the_glob_means_only_what_it_says() {
        let glob = keys().all_standings(SaleId::new(7).unwrap());

        assert_eq!(glob, "shop\\[1\\]:{sale:7}:buyer:*");
    }
}
