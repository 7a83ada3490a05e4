//! The secrets of API keys: derived from the configured secret, the id and a salt by HMAC-SHA-256 (RFC 2104), and stored as a MAC of the
//! derived secret. So a secret can be made again to check a signature, and the database has nothing that could be used.

use hmac::{Hmac, KeyInit, Mac};
use rustls::crypto::ring;
use secrecy::ExposeSecret;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::application::ports::{KEY_SALT_BYTES, KeyHash, KeySalt, KeySecrets, StoredKey};
use crate::config::ApiKeysConfig;
use crate::domain::api_key::{KEY_ID_BYTES, KEY_SECRET_BYTES, KeyId, KeyText};

/// Separate these MACs from each other, and from others made with the same key.
const SECRET_CONTEXT: &[u8] = b"flash-sale api key secret v1";
const HASH_CONTEXT: &[u8] = b"flash-sale api key hash v1";

/// Derives secrets from the configured one.
pub(crate) struct HmacKeySecrets {
    /// Key and context are already hashed. `None` without a configured secret, or for an impossible length.
    secret: Option<Hmac<Sha256>>,
    hash: Option<Hmac<Sha256>>,
}

impl HmacKeySecrets {
    /// Takes the configured secret. Without one no key is genuine, and none can be made.
    pub(crate) fn new(config: &ApiKeysConfig) -> Self {
        let mac = |context: &[u8]| {
            let key = config.secret.as_ref()?.expose_secret().as_bytes();
            let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
            mac.update(context);
            Some(mac)
        };
        Self { secret: mac(SECRET_CONTEXT), hash: mac(HASH_CONTEXT) }
    }

    fn derived(&self, id: KeyId, salt: &KeySalt) -> [u8; KEY_SECRET_BYTES] {
        let whole = digest(self.secret.as_ref(), &[id.bytes(), salt]);
        let mut secret = [0; KEY_SECRET_BYTES];
        secret.copy_from_slice(&whole[..KEY_SECRET_BYTES]);
        secret
    }

    fn hash_of(&self, id: KeyId, secret: &[u8]) -> KeyHash {
        digest(self.hash.as_ref(), &[id.bytes(), secret])
    }
}

fn digest(mac: Option<&Hmac<Sha256>>, parts: &[&[u8]]) -> KeyHash {
    let Some(mac) = mac else { return KeyHash::default() };
    let mut mac = mac.clone();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

impl KeySecrets for HmacKeySecrets {
    fn random(&self) -> Option<(KeyId, KeySalt)> {
        self.secret.as_ref()?;
        Some((KeyId::new(random::<KEY_ID_BYTES>()?), random::<KEY_SALT_BYTES>()?))
    }

    fn text(&self, id: KeyId, salt: &KeySalt) -> KeyText {
        KeyText::new(id, &self.derived(id, salt))
    }

    fn hash(&self, id: KeyId, salt: &KeySalt) -> KeyHash {
        self.hash_of(id, &self.derived(id, salt))
    }

    fn is_genuine(&self, presented: &str, stored: &StoredKey) -> bool {
        let Some((id, secret)) = KeyText::parse(presented) else { return false };
        let is_configured = self.hash.is_some();
        let is_equal: bool = self.hash_of(id, &secret).ct_eq(&stored.hash).into();
        is_configured && id == stored.key.id && is_equal
    }
}

fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    ring::default_provider().secure_random.fill(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::ApiKey;
    use crate::domain::api_key::{KeyName, Scope, Scopes};
    use crate::testing::builders::at;

    fn secrets(secret: Option<&str>) -> HmacKeySecrets {
        HmacKeySecrets::new(&ApiKeysConfig { secret: secret.map(Into::into) })
    }

    fn stored(id: KeyId, salt: KeySalt, hash: KeyHash) -> StoredKey {
        let key = ApiKey {
            id,
            name: KeyName::parse("ci").unwrap(),
            scopes: Scopes::new([Scope::Sell]).unwrap(),
            created_by: "eve".to_owned(),
            created_at: at(0),
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
        };
        StoredKey { key, salt, hash }
    }

    #[test]
    fn a_key_is_genuine_for_its_own_id_and_configured_secret_alone() {
        let own = secrets(Some("a secret of the service"));
        let (id, salt) = own.random().unwrap();
        let (other_id, _) = own.random().unwrap();
        let text = own.text(id, &salt);
        let hash = own.hash(id, &salt);

        assert!(own.is_genuine(text.reveal(), &stored(id, salt, hash)));
        assert!(!own.is_genuine(text.reveal(), &stored(other_id, salt, hash)));
        assert!(!own.is_genuine(own.text(other_id, &salt).reveal(), &stored(id, salt, hash)));
        assert!(!own.is_genuine(own.text(id, &[9; 16]).reveal(), &stored(id, salt, hash)));
        let other = secrets(Some("another secret"));
        assert!(!other.is_genuine(text.reveal(), &stored(id, salt, hash)));
        assert_ne!(other.text(id, &salt), text);
    }

    #[test]
    fn without_a_configured_secret_nothing_is_genuine() {
        let none = secrets(None);
        let id = KeyId::new([1; KEY_ID_BYTES]);
        let text = none.text(id, &[2; 16]);

        assert!(none.random().is_none());
        assert!(!none.is_genuine(text.reveal(), &stored(id, [2; 16], none.hash(id, &[2; 16]))));
    }
}
