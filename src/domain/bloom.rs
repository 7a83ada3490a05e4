//! The arithmetic of a Bloom filter over item numbers: its size and which bits an item sets.
//!
//! Size after Bloom (1970): for `n` items and a false-positive rate `p`, `m = -n ln p / (ln 2)²` bits and
//! `k = (m / n) ln 2` hashes. Positions by double hashing after Kirsch and Mitzenmacher (2006). Where the bits are kept
//! is not the filter's concern: every place is given as a bit offset, most significant bit of a byte first, as
//! Redis's SETBIT counts.

use super::ids::ItemNo;

/// False positives that are aimed at: one in a thousand.
const FALSE_POSITIVE_RATE: f64 = 0.001;

/// How large a filter is and how often an item is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BloomShape {
    bits: u64,
    hashes: u32,
}

/// How an item's bits lie: all numbers stay far below 2^53, so that a double, all that Lua has, holds them exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walk {
    /// Place of the first bit.
    pub first: u64,
    /// From each bit to the next.
    pub stride: u64,
}

impl BloomShape {
    /// The shape for a sale with this many items, all of which may sell out.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "items are positive and below 2^31, so all numbers here are small and positive"
    )]
    pub fn for_items(items: i32) -> Self {
        let items = f64::from(items.max(1));
        let bits = -items * FALSE_POSITIVE_RATE.ln() / std::f64::consts::LN_2.powi(2);
        let hashes = (bits / items * std::f64::consts::LN_2).round();
        Self { bits: (bits.ceil() as u64).next_multiple_of(8), hashes: hashes as u32 }
    }

    /// Size in bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        usize::try_from(self.bits / 8).unwrap_or(usize::MAX)
    }

    /// Bits that an item has.
    #[must_use]
    pub fn hashes(self) -> u32 {
        self.hashes
    }

    /// Size in bits.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.bits
    }

    /// The place of an item's first bit, and the stride to the next ones, modulo the size.
    #[must_use]
    pub fn walk(self, item: ItemNo) -> Walk {
        let hash = mix(u64::from(item.0.unsigned_abs()));
        // Never 0, which would put all bits of an item into one place.
        Walk { first: hash % self.bits, stride: 1 + mix(hash) % (self.bits - 1) }
    }

    /// Places of an item's bits.
    pub fn positions(self, item: ItemNo) -> impl Iterator<Item = u64> {
        let Walk { first, stride } = self.walk(item);
        (0..u64::from(self.hashes)).map(move |turn| (first + turn * stride) % self.bits)
    }

    /// A whole filter with these items in it.
    #[must_use]
    pub fn filled(self, items: impl IntoIterator<Item = ItemNo>) -> Vec<u8> {
        let mut bytes = vec![0_u8; self.bytes()];
        for place in items.into_iter().flat_map(|item| self.positions(item)) {
            if let Some(byte) = usize::try_from(place / 8).ok().and_then(|at| bytes.get_mut(at)) {
                *byte |= 0x80 >> (place % 8);
            }
        }
        bytes
    }
}

/// The finaliser of `SplitMix64` (Steele, Lea, Flood 2014): every input bit changes every output bit half the time.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(shape: BloomShape, filter: &[u8], item: ItemNo) -> bool {
        shape.positions(item).all(|place| {
            let byte = filter[usize::try_from(place / 8).unwrap()];
            byte & (0x80 >> (place % 8)) != 0
        })
    }

    #[test]
    fn the_shape_for_ten_thousand_items_is_the_textbooks() {
        let shape = BloomShape::for_items(10_000);

        assert_eq!(shape.hashes, 10);
        assert_eq!(shape.bytes(), 17_972);
    }

    #[test]
    fn what_was_put_in_is_always_found() {
        let shape = BloomShape::for_items(1_000);
        let filter = shape.filled((1..=1_000).map(ItemNo));

        assert!((1..=1_000).all(|item| contains(shape, &filter, ItemNo(item))));
    }

    #[test]
    fn a_full_filter_errs_about_once_in_a_thousand() {
        let shape = BloomShape::for_items(10_000);
        let filter = shape.filled((1..=10_000).map(ItemNo));

        let wrong =
            (10_001..=110_000).filter(|item| contains(shape, &filter, ItemNo(*item))).count();

        assert!((50..200).contains(&wrong), "{wrong} of 100,000");
    }
}
