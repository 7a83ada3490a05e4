//! Which buyers have a row, as far as this instance has written or read it.

use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use crate::domain::ids::{BuyerId, SaleId};

/// A power of two.
const BUCKETS: usize = 1 << 16;
/// Buyers of one bucket.
const WAYS: usize = 4;

/// A set of bounded size, 1 MiB for a quarter of a million buyers; the oldest of a bucket is dropped first.
///
/// It keeps 32 bits of a hash of each buyer. So it may forget a buyer, and it may take an unknown buyer for a known one. The hash has a
/// key, so a client cannot choose buyer ids that share a bucket.
#[derive(Debug)]
pub(super) struct KnownBuyers {
    /// The hashes, newest first; 0 is none.
    buckets: Vec<[u32; WAYS]>,
    hasher: RandomState,
}

/// The hash of a buyer in a sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct BuyerHash(u64);

/// Hashes keys that no client chooses: hashes, and numbers that the database counts. One multiplication spreads them.
pub(super) type BuildSpread = BuildHasherDefault<Spread>;

/// See [`BuildSpread`].
#[derive(Debug, Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // The map takes the lowest and the highest bits: both depend on all bits of the number.
        let spread = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = spread ^ (spread >> 32);
    }

    fn write_i64(&mut self, number: i64) {
        self.write_u64(number.cast_unsigned());
    }
}

impl Default for KnownBuyers {
    fn default() -> Self {
        Self { buckets: vec![[0; WAYS]; BUCKETS], hasher: RandomState::new() }
    }
}

impl KnownBuyers {
    /// The hash that the other functions take.
    pub(super) fn hash(&self, sale: SaleId, buyer: &BuyerId) -> BuyerHash {
        BuyerHash(self.hasher.hash_one((sale, buyer)))
    }

    pub(super) fn insert(&mut self, buyer: BuyerHash) {
        let bucket = &mut self.buckets[buyer.bucket()];
        if !bucket.contains(&buyer.tag()) {
            bucket.rotate_right(1);
            bucket[0] = buyer.tag();
        }
    }

    pub(super) fn contains(&self, buyer: BuyerHash) -> bool {
        self.buckets[buyer.bucket()].contains(&buyer.tag())
    }

    pub(super) fn clear(&mut self) {
        self.buckets.fill([0; WAYS]);
    }
}

impl BuyerHash {
    fn bucket(self) -> usize {
        usize::try_from(self.0 >> 32).unwrap_or_default() % BUCKETS
    }

    fn tag(self) -> u32 {
        u32::try_from(self.0 & u64::from(u32::MAX)).unwrap_or_default().max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::{buyer, sale_id};

    #[test]
    fn a_buyer_is_known_in_a_sale_until_all_are_forgotten() {
        let mut known = KnownBuyers::default();
        let ann = known.hash(sale_id(1), &buyer("ann"));
        known.insert(ann);
        known.insert(ann);

        assert!(known.contains(ann));
        assert!(!known.contains(known.hash(sale_id(2), &buyer("ann"))));
        assert!(!known.contains(known.hash(sale_id(1), &buyer("bob"))));

        known.clear();
        assert!(!known.contains(ann));
    }

    #[test]
    fn nearly_all_of_a_hundred_thousand_are_known_and_the_newest_of_more() {
        let mut known = KnownBuyers::default();
        let hash = |known: &KnownBuyers, n: u32| known.hash(sale_id(1), &buyer(&n.to_string()));
        let count = |known: &KnownBuyers, numbers: std::ops::Range<u32>| {
            numbers.filter(|n| known.contains(hash(known, *n))).count()
        };

        (0..100_000).for_each(|n| {
            let hash = hash(&known, n);
            known.insert(hash);
        });
        assert!(count(&known, 0..100_000) > 95_000);

        (100_000..1_000_000).for_each(|n| {
            let hash = hash(&known, n);
            known.insert(hash);
        });
        assert!(count(&known, 990_000..1_000_000) > 9_500);
        assert!(count(&known, 0..100_000) < 1_000);
    }
}
