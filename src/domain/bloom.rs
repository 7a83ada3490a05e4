//! The arithmetic of a Bloom filter over item numbers: its size and which bits an item sets.
//!
//! Size after Bloom (1970): for `n` items and a false-positive rate `p`, `m = -n ln p / (ln 2)²` bits and
//! `k = (m / n) ln 2` hashes. Positions by double hashing after Kirsch and Mitzenmacher (2006). The storage of the bits
//! is up to the caller: positions are bit offsets, most significant bit of a byte first, as in Redis's SETBIT.

use super::ids::ItemNo;

/// Target false-positive rate: one in a thousand.
const FALSE_POSITIVE_RATE: f64 = 0.001;

/// The size of a filter and its number of hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BloomShape {
    bits: u64,
    hashes: u32,
}

/// The positions of an item's bits: `first + n * stride`, modulo the filter's size. All numbers stay far below 2^53, so
/// that a double, Lua's only number type, represents them exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeSequence {
    /// Offset of the first bit.
    pub first: u64,
    /// Distance from one bit to the next.
    pub stride: u64,
}

impl BloomShape {
    /// The shape for a sale with this many items, all of which can sell out.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "items are positive and below 2^31, so all numbers are small and positive"
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

    /// Bits that an item sets.
    #[must_use]
    pub fn hashes(self) -> u32 {
        self.hashes
    }

    /// Size in bits.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.bits
    }

    /// The probe sequence of an item.
    #[must_use]
    pub fn probe_sequence(self, item: ItemNo) -> ProbeSequence {
        let hash = mix(u64::from(item.0.unsigned_abs()));
        // Never 0: that would put all bits of an item into one position.
        ProbeSequence { first: hash % self.bits, stride: 1 + mix(hash) % (self.bits - 1) }
    }

    /// Offsets of an item's bits.
    pub fn positions(self, item: ItemNo) -> impl Iterator<Item = u64> {
        let ProbeSequence { first, stride } = self.probe_sequence(item);
        (0..u64::from(self.hashes)).map(move |turn| (first + turn * stride) % self.bits)
    }

    /// The bytes of a filter that contains these items.
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
    fn every_inserted_item_is_found() {
        let shape = BloomShape::for_items(1_000);
        let filter = shape.filled((1..=1_000).map(ItemNo));

        assert!((1..=1_000).all(|item| contains(shape, &filter, ItemNo(item))));
    }

    #[test]
    fn a_full_filter_has_about_one_false_positive_in_a_thousand() {
        let shape = BloomShape::for_items(10_000);
        let filter = shape.filled((1..=10_000).map(ItemNo));

        let wrong =
            (10_001..=110_000).filter(|item| contains(shape, &filter, ItemNo(*item))).count();

        assert!((50..200).contains(&wrong), "{wrong} of 100,000");
    }
}
