//! The MAC of checkout codes: HMAC-SHA-256 (RFC 2104), truncated to 80 bits, compared in constant time.

mod api_key;
mod cursor;

use std::sync::Arc;

use arc_swap::ArcSwap;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::application::history::History;
use crate::application::ports::CodeSigner;
use crate::config::CodeKey;
use crate::domain::code::{CodeClaim, KeyTag, MAC_BYTES};
use crate::domain::ids::{AttemptId, SaleId};

pub(crate) use api_key::HmacKeySecrets;
pub(crate) use cursor::HmacCursorSigner;

/// Separates these MACs from others made with the same key.
const CONTEXT: &[u8] = b"flash-sale checkout code v1";

/// The ids of two keys have the same tag, so a code would not identify its key.
#[derive(Debug, thiserror::Error)]
#[error(
    "checkout.code_keys: the ids {0} and {1} are too alike for codes to tell them apart: rename one"
)]
pub(crate) struct TagClash(String, String);

/// Signs with the first key, verifies with all.
pub(crate) struct HmacSigner {
    keys: ArcSwap<CodeKeys>,
    history: Arc<History>,
}

/// Keys that are ready to use. Never empty; the first one signs.
pub(crate) struct CodeKeys(Vec<Key>);

struct Key {
    tag: KeyTag,
    /// Key and context are already hashed: only the numbers are missing.
    mac: Hmac<Sha256>,
}

impl HmacSigner {
    /// Takes the configured keys.
    pub(crate) fn new(keys: &[CodeKey]) -> Result<Self, TagClash> {
        let keys = ArcSwap::from_pointee(Self::prepare(keys)?);
        Ok(Self { keys, history: Arc::default() })
    }

    /// Makes keys ready to replace others.
    pub(crate) fn prepare(keys: &[CodeKey]) -> Result<CodeKeys, TagClash> {
        let mut tags: Vec<(KeyTag, &str)> = Vec::new();
        let mut ready = Vec::new();
        for key in keys {
            let tag = tag(&key.id);
            if let Some((_, other)) = tags.iter().find(|(other, _)| *other == tag) {
                return Err(TagClash((*other).to_owned(), key.id.clone()));
            }
            tags.push((tag, &key.id));
            // Never fails, because HMAC accepts keys of any length.
            let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key.bytes()) else {
                continue;
            };
            mac.update(CONTEXT);
            ready.push(Key { tag, mac });
        }
        Ok(CodeKeys(ready))
    }

    /// Signs and verifies with other keys from now on.
    pub(crate) fn replace(&self, keys: CodeKeys) {
        self.keys.store(Arc::new(keys));
    }

    /// Signs for the epochs of this history.
    pub(crate) fn following(self, history: Arc<History>) -> Self {
        Self { history, ..self }
    }

    /// The id of the epoch in which the attempt was created. `None` in the first one, whose codes have none.
    fn epoch(&self, attempt: AttemptId) -> Option<i64> {
        let epoch = self.history.epochs()?.of(attempt);
        (epoch.number > 1).then_some(epoch.id)
    }
}

impl CodeSigner for HmacSigner {
    fn sign(&self, sale: SaleId, attempt: AttemptId) -> CodeClaim {
        let keys = self.keys.load();
        let (tag, mac) = keys.0.first().map_or((KeyTag::from_bits(0), [0; MAC_BYTES]), |key| {
            (key.tag, key.mac(sale, attempt, self.epoch(attempt)))
        });
        CodeClaim { sale, attempt, tag, mac }
    }

    fn is_genuine(&self, claim: &CodeClaim) -> bool {
        self.keys.load().0.iter().find(|key| key.tag == claim.tag).is_some_and(|key| {
            let epoch = self.epoch(claim.attempt);
            key.mac(claim.sale, claim.attempt, epoch).ct_eq(&claim.mac).into()
        })
    }
}

impl Key {
    /// A history that was lost may have given the number of an attempt of now: the epoch tells their codes apart.
    fn mac(&self, sale: SaleId, attempt: AttemptId, epoch: Option<i64>) -> [u8; MAC_BYTES] {
        let mut mac = self.mac.clone();
        mac.update(&sale.get().to_be_bytes());
        mac.update(&attempt.get().to_be_bytes());
        if let Some(epoch) = epoch {
            mac.update(&epoch.to_be_bytes());
        }
        let whole = mac.finalize().into_bytes();
        let mut truncated = [0; MAC_BYTES];
        truncated.copy_from_slice(&whole[..MAC_BYTES]);
        truncated
    }
}

/// The first bits of the hash of the id.
fn tag(id: &str) -> KeyTag {
    let hash = Sha256::digest(id.as_bytes());
    KeyTag::from_bits(u16::from_be_bytes([hash[0], hash[1]]))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use proptest::prelude::*;
    use secrecy::SecretString;

    use super::*;
    use crate::domain::epoch::{Epoch, Epochs};
    use crate::testing::builders::attempt_id;

    fn key(id: &str) -> CodeKey {
        let secret = BASE64.encode(format!("a secret of its own for {id}"));
        CodeKey { id: id.to_owned(), secret: SecretString::from(secret) }
    }

    fn signer(ids: &[&str]) -> HmacSigner {
        let keys: Vec<_> = ids.iter().map(|id| key(id)).collect();
        HmacSigner::new(&keys).unwrap()
    }

    /// Epochs with these ids, each of a thousand attempts.
    fn epochs(ids: &[i64]) -> Epochs {
        let epoch = |(number, id): (i64, &i64)| Epoch {
            number,
            id: *id,
            first_attempt: (number - 1) * 1_000,
            end_attempt: number * 1_000,
        };
        Epochs::new((1..).zip(ids).map(epoch).collect()).unwrap()
    }

    #[test]
    fn a_code_belongs_to_its_epoch() {
        let signer = signer(&["a"]);
        let code_of = |attempt| signer.sign(SaleId::new(1).unwrap(), attempt_id(attempt));
        let without_history = code_of(5);
        signer.history.adopt(epochs(&[7, 8]));
        let (first, lost) = (code_of(5), code_of(1_005));
        signer.history.adopt(epochs(&[7, 9]));

        assert_eq!(first, without_history);
        assert!(signer.is_genuine(&first) && !signer.is_genuine(&lost));
        assert_ne!(code_of(1_005), lost);
    }

    fn ids(sale: i64, attempt: i64) -> (SaleId, AttemptId) {
        (SaleId::new(sale).unwrap(), AttemptId::new(attempt).unwrap())
    }

    #[test]
    fn a_code_is_genuine_as_long_as_its_key_is_configured() {
        let (sale, attempt) = ids(1, 2);
        let code = signer(&["old"]).sign(sale, attempt);

        assert!(signer(&["new", "old"]).is_genuine(&code));
        assert!(!signer(&["new"]).is_genuine(&code));
    }

    #[test]
    fn the_first_key_signs() {
        let (sale, attempt) = ids(1, 2);
        let code = signer(&["new", "old"]).sign(sale, attempt);

        assert!(signer(&["new"]).is_genuine(&code));
    }

    #[test]
    fn a_code_of_another_sale_or_attempt_is_forged() {
        let (sale, attempt) = ids(1, 2);
        let signer = signer(&["a"]);
        let code = signer.sign(sale, attempt);

        assert!(!signer.is_genuine(&CodeClaim { sale: ids(2, 2).0, ..code }));
        assert!(!signer.is_genuine(&CodeClaim { attempt: ids(1, 3).1, ..code }));
    }

    #[test]
    fn ids_with_the_same_tag_are_refused() {
        assert!(HmacSigner::new(&[key("a"), key("a")]).is_err());
    }

    proptest! {
        #[test]
        fn one_changed_bit_is_a_forgery(bit in 0..MAC_BYTES * 8, sale in 1..i64::MAX, attempt in 1..i64::MAX) {
            let (sale, attempt) = ids(sale, attempt);
            let signer = signer(&["a"]);
            let mut code = signer.sign(sale, attempt);
            code.mac[bit / 8] ^= 1 << (bit % 8);

            prop_assert!(!signer.is_genuine(&code));
        }
    }
}
