//! Numbers as text that can be read aloud.
//!
//! The alphabet is Crockford's base 32 (<https://www.crockford.com/base32.html>): no I, L, O or U. Each number has exactly
//! one spelling. Crockford's lenient decoding (`o` for `0`) is not supported, because a code is also a lock key and a name
//! in logs: two spellings would make two keys.

/// The 32 digits, in order of value.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Bits that one digit carries.
const BITS: u32 = 5;

/// Appends `number` without leading zeros (zero is `0`).
pub fn push_number(text: &mut String, number: u64) {
    let digits = (u64::BITS - number.leading_zeros()).div_ceil(BITS).max(1);
    for place in (0..digits).rev() {
        push_digit(text, number >> (place * BITS));
    }
}

/// Parses the output of [`push_number`]; `None` for any other spelling.
#[must_use]
pub fn parse_number(text: &str) -> Option<u64> {
    if text.is_empty() || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    let mut number: u64 = 0;
    for byte in text.bytes() {
        number = number.checked_mul(1 << BITS)?.checked_add(u64::from(digit_value(byte)?))?;
    }
    Some(number)
}

/// Appends `bytes`: every five bytes become eight digits, so `N` must be a multiple of five.
pub fn push_bytes<const N: usize>(text: &mut String, bytes: &[u8; N]) {
    const { assert!(N.is_multiple_of(5), "only whole groups of five bytes have one spelling") };
    for group in bytes.chunks_exact(5) {
        let bits = group.iter().fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte));
        for place in (0..8).rev() {
            push_digit(text, bits >> (place * BITS));
        }
    }
}

/// Parses the output of [`push_bytes`]; `None` for any other length or letter.
#[must_use]
pub fn parse_bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    if !text.is_ascii() || text.len() != N / 5 * 8 {
        return None;
    }
    let mut bytes = [0; N];
    for (group, digits) in bytes.chunks_exact_mut(5).zip(text.as_bytes().chunks_exact(8)) {
        let mut bits = 0_u64;
        for digit in digits {
            bits = (bits << BITS) | u64::from(digit_value(*digit)?);
        }
        group.copy_from_slice(&bits.to_be_bytes()[3..]);
    }
    Some(bytes)
}

fn push_digit(text: &mut String, value: u64) {
    text.push(char::from(DIGITS[usize::from(value.to_le_bytes()[0] & 31)]));
}

fn digit_value(byte: u8) -> Option<u8> {
    let place = DIGITS.iter().position(|digit| *digit == byte)?;
    u8::try_from(place).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_number_round_trips(number: u64) {
            let mut text = String::new();
            push_number(&mut text, number);
            prop_assert_eq!(parse_number(&text), Some(number));
        }

        #[test]
        fn all_bytes_round_trip(bytes: [u8; 10]) {
            let mut text = String::new();
            push_bytes(&mut text, &bytes);
            prop_assert_eq!(parse_bytes::<10>(&text), Some(bytes));
        }

        #[test]
        fn every_text_that_parses_is_the_only_spelling(text in "[0-9A-Za-z]{1,14}") {
            if let Some(number) = parse_number(&text) {
                let mut again = String::new();
                push_number(&mut again, number);
                prop_assert_eq!(again, text);
            }
        }
    }

    #[test]
    fn ambiguous_letters_are_rejected() {
        for text in ["O", "I", "L", "U", "a", "01", "", "é"] {
            assert_eq!(parse_number(text), None, "{text:?}");
        }
    }
}
