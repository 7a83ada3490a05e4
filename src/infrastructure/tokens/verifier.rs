//! Verifies tokens: the signature by the key that they name, then the claims.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{decode, decode_header, get_current_timestamp};
use serde::Deserialize;

use super::download::{InvalidKeyUrl, KeyUrl};
use super::keys::{InvalidKey, Keys, Rules, TokenKey, UnreadableKeys};
use super::metrics::TokenMetrics;
use super::refresh::Refresh;
use super::signatures;
use super::sources::{KeyFile, KeySource};
use super::verified::{VerifiedTokens, hash_of};
use crate::application::ports::{InvalidToken, TokenVerifier};
use crate::config::JwtConfig;
use crate::domain::ids::BuyerId;

/// Longest token, in bytes: far longer than any with the claims of a buyer.
const MAX_TOKEN_BYTES: usize = 8_192;
/// Time between two attempts to read a key set for the first time.
const FIRST_READING_INTERVAL: Duration = Duration::from_secs(1);

/// The claims that are read; the others are validated by jsonwebtoken.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
}

/// Verifies tokens.
pub(crate) struct JwtVerifier {
    rules: Rules,
    /// Those in the configuration itself.
    configured: Vec<Arc<TokenKey>>,
    keys: RwLock<Arc<Keys>>,
    verified: VerifiedTokens,
    set: Option<KeySet>,
    metrics: TokenMetrics,
}

/// A key set that is read again and again.
struct KeySet {
    source: Box<dyn KeySource>,
    interval: Duration,
    refresh: Refresh,
    /// The text of the keys in use.
    json: RwLock<Option<Vec<u8>>>,
}

/// The keys of tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidTokens {
    /// A configured key.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// The URL of the key set.
    #[error(transparent)]
    Url(#[from] InvalidKeyUrl),
}

impl JwtVerifier {
    /// As configured. A key set is not read yet.
    pub(crate) fn new(config: &JwtConfig, metrics: TokenMetrics) -> Result<Self, InvalidTokens> {
        let source: Option<Box<dyn KeySource>> = match (&config.jwks_file, &config.jwks_url) {
            (Some(file), _) => Some(Box::new(KeyFile(file.clone()))),
            (None, Some(url)) => Some(Box::new(KeyUrl::new(url, config.ssl_root_cert.as_deref())?)),
            (None, None) => None,
        };
        Ok(Self::reading(config, source, metrics)?)
    }

    pub(super) fn reading(
        config: &JwtConfig,
        source: Option<Box<dyn KeySource>>,
        metrics: TokenMetrics,
    ) -> Result<Self, InvalidKey> {
        signatures::install();
        let rules = Rules::new(config);
        let configured = rules.configured(config)?;
        let keys = RwLock::new(Arc::new(Keys::new(&configured, Vec::new())));
        let set = source.map(|source| KeySet {
            source,
            interval: config.refresh_interval,
            refresh: Refresh::new(),
            json: RwLock::default(),
        });
        Ok(Self { rules, configured, keys, verified: VerifiedTokens::new(), set, metrics })
    }

    /// Reads the key set for the first time. Only a file that cannot be used is an error: a URL may answer later.
    pub(crate) async fn begin(&self) -> Result<(), InvalidTokens> {
        let Some(set) = &self.set else { return Ok(()) };
        match self.read(set).await {
            Err(error) if set.source.is_private() => Err(InvalidKey::File(error).into()),
            Err(error) => {
                tracing::warn!(%error, "the keys of tokens cannot be read yet: tokens are refused until they are");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Reads the key set again and again.
    pub(crate) async fn keep_reading(self: Arc<Self>) {
        let Some(set) = &self.set else { return };
        let mut is_failing = set.json().is_none();
        loop {
            let is_first = set.json().is_none();
            let interval = if is_first { FIRST_READING_INTERVAL } else { set.interval };
            set.refresh.due(interval).await;
            match self.read(set).await {
                Ok(()) if is_failing => tracing::info!("the keys of tokens are read again"),
                Err(error) if !is_failing => {
                    tracing::warn!(%error, "the keys of tokens cannot be read: those in use stay in use");
                    is_failing = true;
                    continue;
                }
                Err(_) => continue,
                Ok(()) => {}
            }
            is_failing = false;
        }
    }

    async fn read(&self, set: &KeySet) -> Result<(), UnreadableKeys> {
        let read = self.replace(set).await;
        let outcome = match &read {
            Ok(true) => "changed",
            Ok(false) => "unchanged",
            Err(_) => "failed",
        };
        self.metrics.read(outcome);
        set.refresh.complete();
        read.map(|_| ())
    }

    /// Reads the key set, and uses it if it differs from the one in use.
    async fn replace(&self, set: &KeySet) -> Result<bool, UnreadableKeys> {
        let json = set.source.read().await?;
        if set.json().as_ref() == Some(&json) {
            return Ok(false);
        }
        let keys = self.rules.of_key_set(&json, set.source.is_private())?;
        let keys = Arc::new(Keys::new(&self.configured, keys));
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        *set.json.write().unwrap_or_else(PoisonError::into_inner) = Some(json);
        // After the change: a token that is verified with the old keys meanwhile is not remembered.
        self.verified.clear();
        Ok(true)
    }

    /// Verifies with the keys of now.
    fn check(&self, token: &str) -> Result<BuyerId, InvalidToken> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(InvalidToken::Invalid);
        }
        let header = decode_header(token).map_err(|_| InvalidToken::Invalid)?;
        let keys = Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
        let named = keys.for_id(header.kid.as_deref());
        if named.is_empty() {
            return Err(InvalidToken::UnknownKey);
        }
        let mut invalid = InvalidToken::Invalid;
        for key in named.into_iter().filter(|key| key.algorithm == header.alg) {
            match decode::<Claims>(token, &key.key, &key.validation) {
                Ok(verified) => return self.accept(token, &verified.claims, &keys),
                Err(error) => invalid = reason(&error).unwrap_or(invalid),
            }
        }
        Err(invalid)
    }

    fn accept(
        &self,
        token: &str,
        claims: &Claims,
        keys: &Arc<Keys>,
    ) -> Result<BuyerId, InvalidToken> {
        let buyer = BuyerId::parse_new(&claims.sub).map_err(|_| InvalidToken::NoBuyer)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it saturates, and jsonwebtoken refuses negative times"
        )]
        let until = (claims.exp.round() as u64).saturating_add(self.rules.leeway());
        // Under the lock of the keys: after a change nothing that an old key has verified is remembered.
        let current = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&current, keys) {
            self.verified.remember(hash_of(token), buyer.clone(), until);
        }
        Ok(buyer)
    }
}

impl KeySet {
    fn json(&self) -> Option<Vec<u8>> {
        self.json.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Why a token with a good signature is not accepted; `None` if the signature is not good.
fn reason(error: &Error) -> Option<InvalidToken> {
    match error.kind() {
        ErrorKind::ExpiredSignature => Some(InvalidToken::Expired),
        ErrorKind::ImmatureSignature => Some(InvalidToken::NotYet),
        _ => None,
    }
}

#[async_trait]
impl TokenVerifier for JwtVerifier {
    fn remembered(&self, token: &str) -> Option<BuyerId> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        self.verified.find(&hash_of(token), get_current_timestamp())
    }

    async fn verify(&self, token: &str) -> Result<BuyerId, InvalidToken> {
        let readings = self.set.as_ref().map(|set| set.refresh.readings());
        let checked = self.check(token);
        match (checked, &self.set, readings) {
            (Err(InvalidToken::UnknownKey), Some(set), Some(readings))
                if set.refresh.after(readings).await =>
            {
                self.check(token)
            }
            (checked, ..) => checked,
        }
    }
}
