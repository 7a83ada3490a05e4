//! The MAC of list cursors: HMAC-SHA-256, truncated to 64 bits. It prevents that a cursor is changed or used for another list;
//! it protects no data that the client could not read anyway.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::application::ports::{CURSOR_MAC_BYTES, CursorMac, CursorSigner};
use crate::config::CodeKey;

/// Separates these MACs from others made with the same key.
const CONTEXT: &[u8] = b"flash-sale list cursor v1";
/// Separates the list's name from the position.
const SEPARATOR: &[u8] = &[0];

/// Signs with the first of the keys that sign codes, verifies with all.
pub(crate) struct HmacCursorSigner {
    /// Key and context are already hashed.
    keys: ArcSwap<Vec<Hmac<Sha256>>>,
}

impl HmacCursorSigner {
    /// Takes the configured keys.
    pub(crate) fn new(keys: &[CodeKey]) -> Self {
        Self { keys: ArcSwap::from_pointee(Self::prepare(keys)) }
    }

    /// Signs and verifies with other keys from now on.
    pub(crate) fn replace(&self, keys: &[CodeKey]) {
        self.keys.store(Arc::new(Self::prepare(keys)));
    }

    fn prepare(keys: &[CodeKey]) -> Vec<Hmac<Sha256>> {
        // Skips none, because HMAC accepts keys of any length.
        let keys = keys.iter().filter_map(|key| Hmac::new_from_slice(&key.bytes()).ok());
        let with_context = keys.map(|mut mac: Hmac<Sha256>| {
            mac.update(CONTEXT);
            mac
        });
        with_context.collect()
    }
}

fn mac(key: &Hmac<Sha256>, list: &str, place: &str) -> CursorMac {
    let mut mac = key.clone();
    for part in [list.as_bytes(), SEPARATOR, place.as_bytes()] {
        mac.update(part);
    }
    let whole = mac.finalize().into_bytes();
    let mut truncated = [0; CURSOR_MAC_BYTES];
    truncated.copy_from_slice(&whole[..CURSOR_MAC_BYTES]);
    truncated
}

impl CursorSigner for HmacCursorSigner {
    fn sign(&self, list: &str, place: &str) -> CursorMac {
        self.keys.load().first().map_or([0; CURSOR_MAC_BYTES], |key| mac(key, list, place))
    }

    fn is_genuine(&self, list: &str, place: &str, claimed: &CursorMac) -> bool {
        self.keys.load().iter().any(|key| mac(key, list, place).ct_eq(claimed).into())
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use secrecy::SecretString;

    use super::*;

    fn signer(ids: &[&str]) -> HmacCursorSigner {
        let key = |id: &&str| {
            let secret = BASE64.encode(format!("a secret of its own for {id}"));
            CodeKey { id: (*id).to_owned(), secret: SecretString::from(secret) }
        };
        HmacCursorSigner::new(&ids.iter().map(key).collect::<Vec<_>>())
    }

    #[test]
    fn a_position_is_genuine_for_its_list_and_a_configured_key() {
        let mac = signer(&["a"]).sign("items S-1", "17");

        assert!(signer(&["a"]).is_genuine("items S-1", "17", &mac));
        assert!(signer(&["b", "a"]).is_genuine("items S-1", "17", &mac));
        assert!(!signer(&["a"]).is_genuine("items S-2", "17", &mac));
        assert!(!signer(&["a"]).is_genuine("items S-1", "18", &mac));
        assert!(!signer(&["b"]).is_genuine("items S-1", "17", &mac));
        // The same bytes, split at another place.
        assert!(!signer(&["a"]).is_genuine("items S-11", "7", &mac));
    }
}
