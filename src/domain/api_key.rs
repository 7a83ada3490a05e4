//! API keys of operators and services: their ids, their names, and what they may do.
//!
//! A key as its holder has it is `fsk_`, the digits of its id, `_`, and the digits of its secret.

use std::fmt;

use super::alphabet::{parse_bytes, push_bytes};

/// Maximum length of a key's name, in characters.
pub const MAX_KEY_NAME_CHARS: usize = 100;
/// Bytes of an id.
pub const KEY_ID_BYTES: usize = 10;
/// Bytes of a secret.
pub const KEY_SECRET_BYTES: usize = 30;

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Read what operators see.
    Read,
    /// Buy for buyers, on the port of front ends.
    Sell,
    /// Change everything that operators can change, keys included.
    Operate,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Sell, Self::Operate];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Sell => "sell",
            Self::Operate => "operate",
        }
    }

    /// The scope of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

/// What a key may do altogether: at least one scope, each once, in the order of [`Scope::ALL`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// These scopes; `None` if there are none.
    pub fn new(scopes: impl IntoIterator<Item = Scope>) -> Option<Self> {
        let mut scopes: Vec<Scope> = scopes.into_iter().collect();
        scopes.sort_unstable();
        scopes.dedup();
        (!scopes.is_empty()).then_some(Self(scopes))
    }

    /// Whether it is among them.
    #[must_use]
    pub fn contains(&self, scope: Scope) -> bool {
        self.0.contains(&scope)
    }

    /// Their names.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|scope| scope.as_str()).collect()
    }
}

/// The id of a key, `key_…`. It is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; KEY_ID_BYTES]);

impl KeyId {
    const PREFIX: &str = "key_";

    /// The id of these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; KEY_ID_BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; KEY_ID_BYTES] {
        &self.0
    }

    /// Parses `key_…`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse_bytes(text.strip_prefix(Self::PREFIX)?).map(Self)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Self::PREFIX.to_owned();
        push_bytes(&mut text, &self.0);
        f.write_str(&text)
    }
}

/// The name of a key: who changes something, in the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName(String);

impl KeyName {
    /// Parses a name.
    pub fn parse(text: &str) -> Result<Self, InvalidKeyName> {
        let is_name = !text.is_empty()
            && text.trim() == text
            && text.chars().nth(MAX_KEY_NAME_CHARS).is_none()
            && !text.chars().any(char::is_control);
        if is_name { Ok(Self(text.to_owned())) } else { Err(InvalidKeyName) }
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is no name of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must have 1 to {MAX_KEY_NAME_CHARS} characters, no control characters, and no space at its ends"
)]
pub struct InvalidKeyName;

/// A key as its holder has it. No log shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText(String);

impl KeyText {
    const PREFIX: &str = "fsk_";

    /// The key of this id with this secret.
    #[must_use]
    pub fn new(id: KeyId, secret: &[u8; KEY_SECRET_BYTES]) -> Self {
        let mut text = Self::PREFIX.to_owned();
        push_bytes(&mut text, &id.0);
        text.push('_');
        push_bytes(&mut text, secret);
        Self(text)
    }

    /// The id and the secret that a text claims; `None` if it has not the form of a key.
    #[must_use]
    pub fn parse(text: &str) -> Option<(KeyId, [u8; KEY_SECRET_BYTES])> {
        let (id, secret) = text.strip_prefix(Self::PREFIX)?.split_once('_')?;
        Some((KeyId(parse_bytes(id)?), parse_bytes(secret)?))
    }

    /// Its text: to sign with, or to show once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_parsed_as_it_was_written() {
        let (id, secret) = (KeyId::new([7; KEY_ID_BYTES]), [200; KEY_SECRET_BYTES]);
        let text = KeyText::new(id, &secret);

        assert_eq!(KeyText::parse(text.reveal()), Some((id, secret)));
        assert_eq!(KeyId::parse(&id.to_string()), Some(id));
        assert_eq!(text.reveal().len(), 4 + 16 + 1 + 48);
        assert_eq!(format!("{text:?}"), "KeyText(…)");
    }

    #[test]
    fn another_form_is_no_key() {
        let whole = KeyText::new(KeyId::new([7; KEY_ID_BYTES]), &[200; KEY_SECRET_BYTES]);
        let whole = whole.reveal();
        let lower = whole.to_lowercase();
        let long = "fsk_".to_owned() + &*"0".repeat(100_000);
        let cases = ["", "fsk_", "fsk__", &whole[1..], &whole[..68], &lower, &long, "fsk_ü_ü"];

        for text in cases {
            assert_eq!(KeyText::parse(text), None, "{text}");
        }
    }

    #[test]
    fn scopes_are_known_names_each_once() {
        let scopes = Scopes::new([Scope::Operate, Scope::Read, Scope::Read]).unwrap();

        assert_eq!(scopes.names(), ["read", "operate"]);
        assert!(scopes.contains(Scope::Read) && !scopes.contains(Scope::Sell));
        assert_eq!(Scopes::new([]), None);
        assert_eq!(Scope::parse("admin"), None);
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.as_str()), Some(scope));
        }
    }

    #[test]
    fn a_name_is_short_and_visible() {
        for name in ["ci", "Ann's laptop", &"x".repeat(100)] {
            assert_eq!(KeyName::parse(name).unwrap().as_str(), name);
        }
        for name in ["", " ci", "ci ", "a\nb", &"x".repeat(101)] {
            assert_eq!(KeyName::parse(name), Err(InvalidKeyName), "{name:?}");
        }
    }
}
