//! Keys of tokens. Each has one algorithm, by what it is: a token's header chooses neither the algorithm nor, but for the id
//! that it names, the key.

use std::collections::HashMap;
use std::sync::Arc;

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, Validation};
use secrecy::ExposeSecret;

use crate::config::{JwtConfig, TokenAlgorithm};

/// Maximum number of keys. A token that names none is tried with each of its algorithm.
const MAX_KEYS: usize = 16;
/// Shortest secret of HS256, in bytes (RFC 7518, section 3.2).
const MIN_SECRET_BYTES: usize = 32;
/// Bytes of a point on P-256 that is not compressed.
const P256_POINT_BYTES: usize = 65;

/// Keys that the configuration has, and that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidKey {
    /// The PEM text.
    #[error(
        "auth.jwt.public_key: must be the PEM text of a public key of RSA (2048 bits or more), P-256 or Ed25519"
    )]
    PublicKey,
    /// The algorithm of the key is not allowed.
    #[error("auth.jwt.public_key: auth.jwt.algorithms lacks {0:?}, which is what this key is for")]
    Algorithm(TokenAlgorithm),
    /// The key set in the file.
    #[error("auth.jwt.jwks_file: {0}")]
    File(#[source] UnreadableKeys),
    /// The secret.
    #[error("auth.jwt.hmac_secret: must not be empty")]
    Secret,
}

/// Why a key set is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnreadableKeys {
    /// It cannot be read.
    #[error("cannot read the keys: {0}")]
    Io(String),
    /// It is too large.
    #[error("the keys are larger than {0} bytes")]
    TooLarge(usize),
    /// It is no key set.
    #[error("is not a JSON Web Key Set (RFC 7517)")]
    NoKeySet,
    /// It has no key that may sign tokens.
    #[error("has no key that may sign tokens: RSA, P-256 or Ed25519, of an allowed algorithm")]
    NoKeys,
}

/// A key, and what tokens signed by it must be like.
#[derive(Debug)]
pub(super) struct TokenKey {
    pub(super) key: DecodingKey,
    pub(super) algorithm: Algorithm,
    pub(super) validation: Validation,
}

/// The keys that may have signed a token.
#[derive(Debug, Default)]
pub(super) struct Keys {
    by_id: HashMap<String, Vec<Arc<TokenKey>>>,
    without_id: Vec<Arc<TokenKey>>,
}

/// What all tokens must be like.
#[derive(Debug)]
pub(super) struct Rules {
    algorithms: Vec<TokenAlgorithm>,
    validation: Validation,
}

/// Keys by their ids, where they have one.
pub(super) type KeySet = Vec<(Option<String>, Arc<TokenKey>)>;

impl Rules {
    pub(super) fn new(config: &JwtConfig) -> Self {
        let mut validation = Validation::new(Algorithm::default());
        validation.leeway = config.leeway.as_secs();
        // jsonwebtoken ignores it unless it is told.
        validation.validate_nbf = true;
        let mut required = vec!["exp", "sub"];
        if let Some(issuer) = &config.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.validate_aud = !config.audience.is_empty();
        if validation.validate_aud {
            validation.set_audience(&config.audience);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        Self { algorithms: config.algorithms.clone(), validation }
    }

    /// For how long a token is accepted after it has expired.
    pub(super) fn leeway(&self) -> u64 {
        self.validation.leeway
    }

    fn key(&self, key: DecodingKey, algorithm: TokenAlgorithm) -> Option<Arc<TokenKey>> {
        let is_allowed = self.algorithms.contains(&algorithm);
        let algorithm = named(algorithm);
        let validation = Validation { algorithms: vec![algorithm], ..self.validation.clone() };
        is_allowed.then(|| Arc::new(TokenKey { key, algorithm, validation }))
    }

    /// The keys in the configuration itself.
    pub(super) fn configured(&self, config: &JwtConfig) -> Result<Vec<Arc<TokenKey>>, InvalidKey> {
        let mut keys = Vec::new();
        if let Some(secret) = &config.hmac_secret {
            let key = DecodingKey::from_secret(secret.expose_secret().as_bytes());
            let key = key.map_err(|_| InvalidKey::Secret)?;
            keys.extend(self.key(key, TokenAlgorithm::Hs256));
        }
        if let Some(pem) = &config.public_key {
            let (key, algorithm) = from_pem(pem).ok_or(InvalidKey::PublicKey)?;
            keys.push(self.key(key, algorithm).ok_or(InvalidKey::Algorithm(algorithm))?);
        }
        Ok(keys)
    }

    /// The keys of a key set, but those that sign nothing, or with other algorithms. `may_be_secret` allows symmetric keys.
    pub(super) fn of_key_set(
        &self,
        json: &[u8],
        may_be_secret: bool,
    ) -> Result<KeySet, UnreadableKeys> {
        let set: JwkSet = serde_json::from_slice(json).map_err(|_| UnreadableKeys::NoKeySet)?;
        let keys = set.keys.into_iter().filter_map(|jwk| {
            let algorithm = algorithm_of(&jwk)?;
            if algorithm == TokenAlgorithm::Hs256 && !may_be_secret {
                return None;
            }
            let key = DecodingKey::from_jwk(&jwk).ok().filter(is_sound)?;
            Some((jwk.common.key_id, self.key(key, algorithm)?))
        });
        let keys: Vec<_> = keys.take(MAX_KEYS).collect();
        if keys.is_empty() { Err(UnreadableKeys::NoKeys) } else { Ok(keys) }
    }
}

impl Keys {
    /// Configured keys, which have no id, and those of a key set.
    pub(super) fn new(
        configured: &[Arc<TokenKey>],
        set: Vec<(Option<String>, Arc<TokenKey>)>,
    ) -> Self {
        let mut keys = Self { without_id: configured.to_vec(), ..Self::default() };
        for (id, key) in set {
            match id {
                Some(id) => keys.by_id.entry(id).or_default().push(key),
                None => keys.without_id.push(key),
            }
        }
        keys
    }

    /// The keys that may have signed a token that names this id: those of the id, else those without any. All of them, if it
    /// names none.
    pub(super) fn for_id(&self, id: Option<&str>) -> Vec<&Arc<TokenKey>> {
        match id {
            Some(id) => self.by_id.get(id).unwrap_or(&self.without_id).iter().collect(),
            None => self.without_id.iter().chain(self.by_id.values().flatten()).collect(),
        }
    }
}

fn named(algorithm: TokenAlgorithm) -> Algorithm {
    match algorithm {
        TokenAlgorithm::Hs256 => Algorithm::HS256,
        TokenAlgorithm::Rs256 => Algorithm::RS256,
        TokenAlgorithm::Es256 => Algorithm::ES256,
        TokenAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}

/// The algorithm of a key that may sign tokens, by what it is.
fn algorithm_of(jwk: &Jwk) -> Option<TokenAlgorithm> {
    let common = &jwk.common;
    let signs = common.public_key_use.as_ref().is_none_or(|it| *it == PublicKeyUse::Signature)
        && common.key_operations.as_ref().is_none_or(|it| it.contains(&KeyOperations::Verify));
    let (algorithm, declared) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (TokenAlgorithm::Rs256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (TokenAlgorithm::Es256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (TokenAlgorithm::EdDsa, KeyAlgorithm::EdDSA)
        }
        AlgorithmParameters::OctetKey(_) => (TokenAlgorithm::Hs256, KeyAlgorithm::HS256),
        _ => return None,
    };
    (signs && common.key_algorithm.is_none_or(|it| it == declared)).then_some(algorithm)
}

/// Whether a key of a key set is long enough for what it is.
fn is_sound(key: &DecodingKey) -> bool {
    match (key.family(), key.kind()) {
        (AlgorithmFamily::Hmac, DecodingKeyKind::SecretOrDer(secret)) => {
            secret.len() >= MIN_SECRET_BYTES
        }
        (AlgorithmFamily::Ec, DecodingKeyKind::SecretOrDer(point)) => {
            point.len() == P256_POINT_BYTES
        }
        _ => true,
    }
}

fn from_pem(pem: &str) -> Option<(DecodingKey, TokenAlgorithm)> {
    let pem = pem.as_bytes();
    let rsa = DecodingKey::from_rsa_pem(pem).map(|key| (key, TokenAlgorithm::Rs256));
    let ec = || DecodingKey::from_ec_pem(pem).map(|key| (key, TokenAlgorithm::Es256));
    let ed = || DecodingKey::from_ed_pem(pem).map(|key| (key, TokenAlgorithm::EdDsa));
    let (key, algorithm) = rsa.or_else(|_| ec()).or_else(|_| ed()).ok()?;
    is_sound(&key).then_some((key, algorithm))
}
