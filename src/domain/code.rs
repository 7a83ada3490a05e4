//! The text of a checkout code: `CHK-S-<sale>-<key tag><attempt><mac>`.
//!
//! Sale and attempt are numbers in [`super::alphabet`]; the tag (2 digits) identifies the signing key; the `CodeSigner`
//! port makes and checks the MAC (80 bits, 16 digits), because keys and cryptography do not belong to the domain.

use std::fmt;

use super::alphabet;
use super::ids::{AttemptId, SaleId};

/// Bytes of the MAC that a code carries: 80 bits of HMAC-SHA-256 (RFC 2104 section 5 allows no less than half of the
/// hash for long-lived secrets; a code can only be tried against a live service, where 80 bits cannot be searched).
pub const MAC_BYTES: usize = 10;
/// Digits of the MAC.
const MAC_DIGITS: usize = 16;
/// Digits of the key tag.
const TAG_DIGITS: usize = 2;
const PREFIX: &str = "CHK-";

/// The key that signed a code: 10 bits, shown as two digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyTag(u16);

impl KeyTag {
    /// The tag of the lowest 10 bits.
    #[must_use]
    pub fn from_bits(bits: u16) -> Self {
        Self(bits & 0x3FF)
    }

    /// The 10 bits.
    #[must_use]
    pub fn bits(self) -> u16 {
        self.0
    }
}

/// A well-formed code whose MAC has not been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeClaim {
    /// The sale that it names.
    pub sale: SaleId,
    /// The checkout attempt that it names.
    pub attempt: AttemptId,
    /// The key that claims to have signed it.
    pub tag: KeyTag,
    /// The signature.
    pub mac: [u8; MAC_BYTES],
}

impl CodeClaim {
    /// Parses a code; `None` for every text that [`fmt::Display`] does not write.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(PREFIX)?;
        let (sale, signed) = rest.rsplit_once('-')?;
        if !signed.is_ascii() || signed.len() <= TAG_DIGITS + MAC_DIGITS {
            return None;
        }
        let (tag, signed) = signed.split_at(TAG_DIGITS);
        let (attempt, mac) = signed.split_at(signed.len() - MAC_DIGITS);
        Some(Self {
            sale: SaleId::parse(sale)?,
            attempt: AttemptId::new(i64::try_from(alphabet::parse_number(attempt)?).ok()?)?,
            tag: parse_tag(tag)?,
            mac: alphabet::parse_bytes(mac)?,
        })
    }
}

impl CodeClaim {
    /// Appends the code's text.
    pub fn push_to(&self, text: &mut String) {
        text.push_str(PREFIX);
        self.sale.push_to(text);
        text.push('-');
        let tag = u64::from(self.tag.0);
        if tag < 32 {
            text.push('0');
        }
        alphabet::push_number(text, tag);
        alphabet::push_number(text, self.attempt.get().unsigned_abs());
        alphabet::push_bytes(text, &self.mac);
    }
}

impl fmt::Display for CodeClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(48);
        self.push_to(&mut text);
        f.write_str(&text)
    }
}

fn parse_tag(text: &str) -> Option<KeyTag> {
    let digits = text.strip_prefix('0').unwrap_or(text);
    Some(KeyTag(u16::try_from(alphabet::parse_number(digits)?).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claim(sale: i64, attempt: i64, tag: u16, mac: [u8; MAC_BYTES]) -> CodeClaim {
        CodeClaim {
            sale: SaleId::new(sale).unwrap(),
            attempt: AttemptId::new(attempt).unwrap(),
            tag: KeyTag::from_bits(tag),
            mac,
        }
    }

    proptest! {
        #[test]
        fn every_code_round_trips(
            sale in 1..i64::MAX, attempt in 1..i64::MAX, tag in 0_u16..1024, mac: [u8; MAC_BYTES]
        ) {
            let code = claim(sale, attempt, tag, mac);
            prop_assert_eq!(CodeClaim::parse(&code.to_string()), Some(code));
        }

        #[test]
        fn no_text_panics_and_every_parsed_text_is_the_only_spelling(text in "(CHK-)?\\PC{0,60}") {
            if let Some(code) = CodeClaim::parse(&text) {
                prop_assert_eq!(code.to_string(), text);
            }
        }

        #[test]
        fn one_changed_letter_is_another_code_or_none(place in 0_usize..40, letter in "[0-9A-Za-z-]") {
            let code = claim(77, 123_456, 900, [7; MAC_BYTES]);
            let text = code.to_string();
            let place = place % text.len();
            let changed = format!("{}{letter}{}", &text[..place], &text[place + 1..]);
            if changed != text {
                prop_assert_ne!(CodeClaim::parse(&changed), Some(code));
            }
        }
    }

    #[test]
    fn a_code_has_the_documented_format() {
        let text = claim(1, 5, 33, [0; MAC_BYTES]).to_string();
        assert_eq!(text, "CHK-S-1-1150000000000000000");
    }
}
