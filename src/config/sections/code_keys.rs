//! `checkout.code_keys`: the keys that sign checkout codes; the first one signs, all verify.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::{ExposeSecret, SecretString};

use crate::config::reader::Reader;

const KEY: &str = "checkout.code_keys";
/// Signs codes in development. It is public, so all other profiles reject it.
const DEVELOPMENT_KEY: &[u8] = b"flash-sale development key!!";
/// Minimum length of a key, in bytes.
const MIN_KEY_BYTES: usize = 16;

/// One of `checkout.code_keys`.
#[derive(Debug, Clone)]
pub struct CodeKey {
    /// Its id; every code contains a tag of its hash.
    pub id: String,
    /// The key, in base 64.
    pub secret: SecretString,
}

impl CodeKey {
    /// The key's bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        BASE64.decode(self.secret.expose_secret()).unwrap_or_default()
    }

    /// Reads all keys, `id:base64` separated by commas.
    pub(crate) fn read_all(read: &mut Reader, profile: &str) -> Vec<Self> {
        let text = read.text(KEY);
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let mut keys: Vec<Self> = Vec::new();
        for (entry, place) in entries.zip(1..) {
            let Some((id, encoded)) = entry.split_once(':') else {
                read.fault(KEY, format!("key {place} must look like id:base64"));
                continue;
            };
            let key = Self { id: id.to_owned(), secret: SecretString::from(encoded) };
            let is_id_unique = keys.iter().all(|other| other.id != key.id);
            key.check(read, place, is_id_unique, profile);
            keys.push(key);
        }
        if keys.is_empty() {
            read.fault(KEY, "at least one key is needed; make one with `openssl rand -base64 32`");
        }
        keys
    }

    fn check(&self, read: &mut Reader, place: usize, is_id_unique: bool, profile: &str) {
        let is_id_plain = (1..=32).contains(&self.id.len())
            && self.id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !is_id_plain || !is_id_unique {
            let fault = format!("key {place} needs a unique id of 1 to 32 letters, digits, - or _");
            read.fault(KEY, fault);
        }
        let bytes = self.bytes();
        if bytes.len() < MIN_KEY_BYTES {
            let fault = format!("key {place} must be at least {MIN_KEY_BYTES} bytes in base 64");
            read.fault(KEY, fault);
        }
        if bytes == DEVELOPMENT_KEY && profile != "development" {
            let fault = format!(
                "key {place} is the public development key; make one with `openssl rand -base64 32`"
            );
            read.fault(KEY, fault);
        }
    }
}
