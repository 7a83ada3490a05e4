//! Every key in Redis, with its type, meaning and expiry. All keys of a sale share the hash tag `{sale:ID}`, so that the
//! keys of one script call are on one node of a cluster.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use sha2::{Digest, Sha256};

use crate::application::ports::{Bucket, CacheKey, CacheScope, LimitedBy};
use crate::domain::cell::CellId;
use crate::domain::ids::{AttemptId, BuyerId, IdempotencyKey, SaleId};
use crate::domain::sale::Sale;

/// Bytes of the hash of a buyer in a key: enough that no two of them collide.
const HASH_BYTES: usize = 16;

/// Hash tags whose slots lie in one sixteenth of all slots each.
const PROBE_TAGS: [&str; 16] =
    ["10", "3", "61", "43", "11", "2", "60", "42", "12", "1", "63", "41", "13", "0", "62", "40"];

/// Builds keys.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: Arc<str>,
    keep_after_sale: Duration,
}

/// The keys of a sale's filter and totals.
#[derive(Debug, Clone)]
pub(crate) struct FilterKeys {
    /// hash: `current` and `building` (slots), `builder`, `generation`, and the epoch: `run`, `published_at`. Expires after the
    /// sale.
    pub(crate) filter: String,
    /// string: bits. Expires after the sale.
    pub(crate) slots: [String; 2],
    /// hash: pieces sold by item, `#sold` of the whole sale, and its `#stock` once the totals are complete. One key for each
    /// generation of the sale. Expires after the sale.
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

    /// string: the owner of the lock on a buyer's idempotency key. Buyer and key are hashed, because they may be long. Expires
    /// after `redis.lock_ttl`.
    pub(crate) fn idempotency_lock(&self, buyer: &BuyerId, key: &IdempotencyKey) -> String {
        let mut hash = Sha256::new();
        hash.update(buyer.as_str());
        // Separates the two: no user id contains a zero byte.
        hash.update([0]);
        hash.update(key.as_str());
        let hash = BASE64.encode(&hash.finalize()[..HASH_BYTES]);
        format!("{}gate:{hash}", self.prefix)
    }

    /// string: the buyer's totals in the format of `buyer_totals.rs`. Expires after the sale.
    pub(crate) fn totals(&self, sale: SaleId, buyer: &BuyerId) -> String {
        let mut key = self.of_sale(sale, "buyer:");
        key.push_str(buyer.as_str());
        key
    }

    /// Pattern for the totals of all buyers of a sale.
    pub(crate) fn all_buyer_totals(&self, sale: SaleId) -> String {
        pattern(&self.of_sale(sale, "buyer:"))
    }

    /// stream: events, in the field `event`. Expires after a month without an event.
    pub(crate) fn events(&self) -> String {
        format!("{}events", self.prefix)
    }

    /// string: a page of the read cache, as `read_store.lua` writes it. Expires with the page.
    pub(crate) fn read_page(&self, key: &CacheKey) -> String {
        format!("{}read:{}:{key}", self.prefix, scope_tag(&key.scope))
    }

    /// string: the generation of a scope of the read cache; random. Expires minutes after the last page of the one before.
    pub(crate) fn read_generation(&self, scope: &CacheScope) -> String {
        format!("{}read-generation:{}", self.prefix, scope_tag(scope))
    }

    /// Pattern for all pages of the read cache.
    pub(crate) fn all_read_pages(&self) -> String {
        pattern(&format!("{}read:", self.prefix))
    }

    /// The text of the [`CacheKey`] behind a key of [`Self::read_page`].
    pub(crate) fn text_of_page<'a>(&self, key: &'a str) -> Option<&'a str> {
        let tagged = key.strip_prefix(&*self.prefix)?.strip_prefix("read:{")?;
        Some(tagged.split_once("}:")?.1)
    }

    /// The pub/sub channel for what is to be forgotten of the read cache.
    pub(crate) fn read_invalidations(&self) -> String {
        format!("{}cache", self.prefix)
    }

    /// Pattern for all keys, and for the channels, as the rules of an ACL need it.
    pub(crate) fn all(&self) -> String {
        pattern(&self.prefix)
    }

    /// The user id behind a key of [`Self::totals`].
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

    /// string: empty; written by the probe. Expires after ten seconds.
    pub(crate) fn probe(&self) -> String {
        format!("{}probe", self.prefix)
    }

    /// Like [`Self::probe`], for a cluster: one key for each sixteenth of the slots, and so for every master that has as many.
    pub(crate) fn probes_of_cluster(&self) -> impl Iterator<Item = String> {
        PROBE_TAGS.iter().map(|tag| format!("{}probe:{{{tag}}}", self.prefix))
    }

    /// string: the instance that leads in a background task of a cell. Expires with its term.
    pub(crate) fn leader(&self, cell: CellId, task: &str) -> String {
        format!("{}leader:{cell}:{task}", self.prefix)
    }

    /// The pub/sub channel for sold-out items.
    pub(crate) fn sold_out_events(&self) -> String {
        format!("{}news", self.prefix)
    }

    /// string: when the bucket of a rate limit is empty, in µs since 2026. All buckets share a hash tag, because one call fills buckets
    /// of several kinds. Expires when the bucket is empty.
    pub(crate) fn bucket(&self, bucket: &Bucket) -> String {
        let kind = match bucket.by {
            LimitedBy::Buyer => 'b',
            LimitedBy::Address => 'a',
            LimitedBy::ApiKey => 'k',
            LimitedBy::Route => 'r',
        };
        format!("{}{{limit}}:{kind}:{}", self.prefix, BASE64.encode(bucket.id))
    }

    /// string: empty; a nonce that was used, by its hash. Expires when no signature with it is accepted any more.
    pub(crate) fn nonce(&self, hash: &[u8]) -> String {
        format!("{}nonce:{}", self.prefix, BASE64.encode(hash))
    }

    /// When a sale's keys expire, in Unix milliseconds.
    pub(crate) fn expire_at(&self, sale: &Sale) -> i64 {
        let keep = i64::try_from(self.keep_after_sale.as_millis()).unwrap_or(i64::MAX);
        sale.window.ends_at().timestamp_millis().saturating_add(keep)
    }

    fn of_sale(&self, sale: SaleId, rest: &str) -> String {
        format!("{}{{sale:{}}}:{rest}", self.prefix, sale.get())
    }
}

/// The hash tag of a scope of the read cache: a page and its generation are on one node. A user id may contain braces, so it is hashed.
fn scope_tag(scope: &CacheScope) -> String {
    match scope {
        CacheScope::Sales => "{sales}".to_owned(),
        CacheScope::Sale(sale) => format!("{{sale:{}}}", sale.get()),
        CacheScope::Buyer(buyer) => {
            let hash = Sha256::digest(buyer.as_str());
            format!("{{buyer:{}}}", BASE64.encode(&hash[..HASH_BYTES]))
        }
    }
}

/// Pattern for everything that begins so. The prefix may contain characters that have a meaning in a pattern.
fn pattern(begin: &str) -> String {
    let mut pattern = String::new();
    for character in begin.chars() {
        if "*?[]\\".contains(character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('*');
    pattern
}

#[cfg(test)]
mod tests {
    use redis::cluster_routing::Slot;

    use super::*;
    use crate::application::ports::CacheKind;
    use crate::testing::builders::a_sale;

    fn keys() -> Keys {
        Keys::new("shop[1]:", Duration::from_mins(1))
    }

    #[test]
    fn keys_of_one_sale_share_their_hash_tag() {
        let sale = SaleId::new(7).unwrap();
        let buyer = BuyerId::parse("ann").unwrap();
        let attempt = AttemptId::new(3).unwrap();

        assert_eq!(keys().totals(sale, &buyer), "shop[1]:{sale:7}:buyer:ann");
        assert_eq!(keys().lock(sale, attempt), "shop[1]:{sale:7}:lock:3");
    }

    /// The slot of a key, as a cluster computes it.
    fn slot(key: &str) -> u16 {
        let is_slot = |slot: &u16| Slot::new(*slot) == Some(Slot::for_key(key));
        (0..SLOTS).find(is_slot).unwrap()
    }

    const SLOTS: u16 = 16_384;

    #[test]
    fn the_keys_of_one_script_are_in_one_slot() {
        let sale = a_sale(7);
        let (buyers, attempt) = (["ann", "b{o}b", "}{"], AttemptId::new(3).unwrap());
        let FilterKeys { filter, slots: [one, two], totals } = keys().filter(&sale);
        let mut all = vec![filter, one, two, totals, keys().built(sale.id, "i{1}")];
        all.push(keys().lock(sale.id, attempt));
        all.extend(buyers.map(|buyer| keys().totals(sale.id, &BuyerId::parse(buyer).unwrap())));

        let slots: std::collections::BTreeSet<u16> = all.iter().map(|key| slot(key)).collect();

        assert_eq!(slots.len(), 1, "{all:?}");
    }

    #[test]
    fn open_sales_are_spread_over_the_slots() {
        let mut parts = [0; 4];
        for sale in 1..=200 {
            let slot = slot(&keys().lock(SaleId::new(sale).unwrap(), AttemptId::new(1).unwrap()));
            parts[usize::from(slot / (SLOTS / 4))] += 1;
        }

        assert!(parts.iter().all(|sales| (25..=75).contains(sales)), "{parts:?}");
    }

    #[test]
    fn every_sixteenth_of_the_slots_is_probed() {
        let parts: Vec<u16> =
            keys().probes_of_cluster().map(|key| slot(&key) / (SLOTS / 16)).collect();

        assert_eq!(parts, (0..16).collect::<Vec<_>>());
    }

    #[test]
    fn every_buyer_has_idempotency_locks_of_their_own() {
        let lock = |buyer: &str, key: &str| {
            let buyer = BuyerId::parse(buyer).unwrap();
            keys().idempotency_lock(&buyer, &IdempotencyKey::parse(key).unwrap())
        };

        assert!(lock("ann", "bc").starts_with("shop[1]:gate:"));
        assert_ne!(lock("ann", "bc"), lock("annb", "c"));
        assert_eq!(lock("ann", "bc"), lock("ann", "\"bc\""));
    }

    #[test]
    fn the_buyer_is_parsed_from_the_key_of_their_totals() {
        let sale = SaleId::new(7).unwrap();
        let buyer = BuyerId::parse("a:b{c}").unwrap();

        assert_eq!(keys().buyer_of(sale, &keys().totals(sale, &buyer)), Some("a:b{c}"));
    }

    #[test]
    fn a_page_and_its_generation_share_their_hash_tag_and_the_page_names_its_key() {
        let scope = CacheScope::Buyer(BuyerId::parse("a}:{b}").unwrap());
        let key = CacheKey {
            kind: CacheKind::Purchases,
            scope: scope.clone(),
            generation: 0,
            request: "v2:limit=5".into(),
        };
        let (page, generation) = (keys().read_page(&key), keys().read_generation(&scope));

        let tag = |key: &str| key.split_once('{').unwrap().1.split_once('}').unwrap().0.to_owned();
        assert_eq!(tag(&page), tag(&generation));
        assert_eq!(keys().text_of_page(&page), Some("purchases:a}:{b}:0:v2:limit=5"));
        assert_eq!(keys().text_of_page(&generation), None);
    }

    #[test]
    fn characters_with_a_meaning_are_escaped_in_the_pattern() {
        let pattern = keys().all_buyer_totals(SaleId::new(7).unwrap());

        assert_eq!(pattern, "shop\\[1\\]:{sale:7}:buyer:*");
        assert_eq!(keys().all(), "shop\\[1\\]:*");
    }
}
