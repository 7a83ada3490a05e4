//! Ids and quantities. Each is parsed once, at the boundary; a value of these types is valid.

use std::fmt;
use std::sync::Arc;

use super::alphabet;

/// Longest user id, in bytes.
pub const MAX_BUYER_ID_BYTES: usize = 128;
/// Longest item id, in characters.
pub const MAX_ITEM_ID_CHARS: usize = 64;

/// A sale's number. Its public form is `S-…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SaleId(i64);

impl SaleId {
    const PREFIX: &str = "S-";

    /// A number from the database; `None` below 1.
    #[must_use]
    pub fn new(number: i64) -> Option<Self> {
        (number > 0).then_some(Self(number))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> i64 {
        self.0
    }

    /// Parses the public form, `S-…`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = alphabet::parse_number(text.strip_prefix(Self::PREFIX)?)?;
        Self::new(i64::try_from(number).ok()?)
    }
}

impl SaleId {
    /// Appends the id's text.
    pub fn push_to(self, text: &mut String) {
        text.push_str(Self::PREFIX);
        alphabet::push_number(text, self.0.unsigned_abs());
    }
}

impl fmt::Display for SaleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(16);
        self.push_to(&mut text);
        f.write_str(&text)
    }
}

/// A checkout attempt's number, unique over all sales.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId(i64);

impl AttemptId {
    /// No attempt has a smaller number.
    pub const FIRST: Self = Self(1);

    /// A number from the database; `None` below 1.
    #[must_use]
    pub fn new(number: i64) -> Option<Self> {
        (number > 0).then_some(Self(number))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> i64 {
        self.0
    }
}

/// The number of an item in its sale, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemNo(pub i32);

/// A user's id: 1 to 128 visible ASCII characters, case-sensitive.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BuyerId(Arc<str>);

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// The text is empty.
    #[error("must not be empty")]
    Empty,
    /// Longer than a user id may be.
    #[error("must be at most {MAX_BUYER_ID_BYTES} characters long")]
    BuyerTooLong,
    /// Longer than an item id may be.
    #[error("must be at most {MAX_ITEM_ID_CHARS} characters long")]
    ItemTooLong,
    /// A space, a control or a non-ASCII character.
    #[error("must consist of visible ASCII characters")]
    NotVisibleAscii,
    /// A control character.
    #[error("must not contain control characters")]
    Control,
    /// A part of a path that leads elsewhere.
    #[error("must not be . or ..")]
    Dots,
}

impl BuyerId {
    /// Parses a user id.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        match text {
            "" => Err(InvalidId::Empty),
            _ if text.len() > MAX_BUYER_ID_BYTES => Err(InvalidId::BuyerTooLong),
            _ if !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Err(InvalidId::NotVisibleAscii)
            }
            _ => Ok(Self(text.into())),
        }
    }

    /// Parses a user id of a request. `.` and `..` are refused: as a part of a path they lead elsewhere.
    pub fn parse_new(text: &str) -> Result<Self, InvalidId> {
        match text {
            "." | ".." => Err(InvalidId::Dots),
            _ => Self::parse(text),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Longest idempotency key, in characters.
pub const MAX_KEY_CHARS: usize = 255;

/// The key by which a client identifies a request: 1 to 255 printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey(Arc<str>);

/// Why a header's value is not an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// The key is empty.
    #[error("must not be empty")]
    Empty,
    /// Longer than a key may be.
    #[error("must be at most {MAX_KEY_CHARS} characters long")]
    TooLong,
    /// Neither a string of RFC 8941, section 3.3.3, nor one without its quotes.
    #[error(
        "must be a string of printable ASCII characters, such as \"8e03978e-40d5-43dd-bc93-6894a57f9324\""
    )]
    Malformed,
}

impl IdempotencyKey {
    /// Parses a header's value: a quoted string (RFC 8941, section 3.3.3) or, as many clients send it, the same visible
    /// characters without quotes, which is the same key.
    pub fn parse(value: &str) -> Result<Self, InvalidKey> {
        let value = value.trim_matches(' ');
        let key = match value.strip_prefix('"') {
            Some(rest) => unquoted(rest).ok_or(InvalidKey::Malformed)?,
            None if value
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b',') =>
            {
                value.to_owned()
            }
            None => return Err(InvalidKey::Malformed),
        };
        match key.len() {
            0 => Err(InvalidKey::Empty),
            1..=MAX_KEY_CHARS => Ok(Self(key.into())),
            _ => Err(InvalidKey::TooLong),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text before the closing quote, which must come last.
fn unquoted(rest: &str) -> Option<String> {
    let mut key = String::new();
    let mut letters = rest.chars();
    loop {
        match letters.next()? {
            '"' => return letters.next().is_none().then_some(key),
            '\\' => key.push(letters.next().filter(|letter| matches!(letter, '"' | '\\'))?),
            letter if letter == ' ' || letter.is_ascii_graphic() => key.push(letter),
            _ => return None,
        }
    }
}

/// Longest id of a request, in bytes.
pub const MAX_REQUEST_ID_BYTES: usize = 128;

/// The id of a request, as its answer carries it: 1 to 128 characters that are safe in a log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// `None` for every text that no answer carries as the id of its request.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::is_safe(text.as_bytes()).then(|| Self(text.into()))
    }

    /// Whether these are the bytes of an id.
    #[must_use]
    pub fn is_safe(text: &[u8]) -> bool {
        (1..=MAX_REQUEST_ID_BYTES).contains(&text.len())
            && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An item's id within its sale: 1 to 64 characters without controls.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemId(Arc<str>);

impl ItemId {
    /// Parses an item id.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        match text {
            "" => Err(InvalidId::Empty),
            _ if text.chars().nth(MAX_ITEM_ID_CHARS).is_some() => Err(InvalidId::ItemTooLong),
            _ if text.chars().any(char::is_control) => Err(InvalidId::Control),
            _ => Ok(Self(text.into())),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Pieces of one item, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Quantity(i32);

impl Quantity {
    /// One piece.
    pub const ONE: Self = Self(1);

    /// `None` below 1.
    #[must_use]
    pub fn new(pieces: i32) -> Option<Self> {
        (pieces > 0).then_some(Self(pieces))
    }

    /// The pieces.
    #[must_use]
    pub fn get(self) -> i32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sale_id_round_trips() {
        for number in [1, 31, 32, 1_000, i64::MAX] {
            let sale = SaleId::new(number).unwrap();
            assert_eq!(SaleId::parse(&sale.to_string()), Some(sale));
        }
    }

    #[test]
    fn a_malformed_sale_id_is_rejected() {
        for text in ["", "S-", "S-0", "S-01", "s-1", "1", "S-1 ", "S-ZZZZZZZZZZZZZZ", "CHK-S-1"] {
            assert_eq!(SaleId::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_user_id_is_visible_ascii_of_bounded_length() {
        assert!(BuyerId::parse(&"x".repeat(MAX_BUYER_ID_BYTES)).is_ok());
        assert_eq!(BuyerId::parse(""), Err(InvalidId::Empty));
        assert_eq!(BuyerId::parse(&"x".repeat(129)), Err(InvalidId::BuyerTooLong));
        for text in ["a b", "a\0", "a\n", "é", "\u{7f}"] {
            assert_eq!(BuyerId::parse(text), Err(InvalidId::NotVisibleAscii), "{text:?}");
        }
    }

    #[test]
    fn an_item_id_counts_characters_and_rejects_controls() {
        assert!(ItemId::parse(&"é".repeat(MAX_ITEM_ID_CHARS)).is_ok());
        assert_eq!(ItemId::parse(&"é".repeat(65)), Err(InvalidId::ItemTooLong));
        assert_eq!(ItemId::parse("a\0b"), Err(InvalidId::Control));
    }

    #[test]
    fn a_key_is_the_same_with_and_without_its_quotes() {
        let key = |value| IdempotencyKey::parse(value).map(|key| key.as_str().to_owned());
        let own = |text: &str| Ok(text.to_owned());

        assert_eq!(key("8e03-40d5"), own("8e03-40d5"));
        assert_eq!(key("\"8e03-40d5\""), own("8e03-40d5"));
        assert_eq!(key("\"a b\\\"c\\\\d\""), own("a b\"c\\d"));
    }

    #[test]
    fn a_malformed_key_is_rejected() {
        let long = "x".repeat(MAX_KEY_CHARS + 1);
        for (value, fault) in [
            ("", InvalidKey::Empty),
            ("\"\"", InvalidKey::Empty),
            (long.as_str(), InvalidKey::TooLong),
            ("a b", InvalidKey::Malformed),
            ("a,b", InvalidKey::Malformed),
            ("a\"", InvalidKey::Malformed),
            ("\"a", InvalidKey::Malformed),
            ("\"a\"b", InvalidKey::Malformed),
            ("\"a\\n\"", InvalidKey::Malformed),
            ("\"\u{e9}\"", InvalidKey::Malformed),
        ] {
            assert_eq!(IdempotencyKey::parse(value), Err(fault), "{value}");
        }
    }

    #[test]
    fn user_ids_are_compared_byte_by_byte() {
        assert_ne!(BuyerId::parse("Ann"), BuyerId::parse("ann"));
    }
}
