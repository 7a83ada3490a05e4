//! Chance that is the same in every run: `SplitMix64` (Steele, Lea, Flood 2014).

/// A sequence of numbers that a seed determines.
#[derive(Debug, Clone)]
pub(crate) struct Dice {
    state: u64,
}

impl Dice {
    /// The sequence of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub(crate) fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// From 1 to `most`.
    pub(crate) fn up_to(&mut self, most: u64) -> u64 {
        self.roll() % most.max(1) + 1
    }

    /// More than 0 and at most 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        // 53 bits are what a fraction can hold.
        (super::tally::float(self.roll() >> 11) + 1.0) / super::tally::float(1 << 53)
    }
}
