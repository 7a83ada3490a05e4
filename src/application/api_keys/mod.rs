//! API keys: [`issue`] makes them, [`ApiKeys`] verifies them, for services by the port in `service_keys`.
//!
//! Every instance has the keys that are not revoked in memory, and reads them again before it believes what is older than
//! `MAX_AGE`. So a request costs no I/O, and a revoked key is refused everywhere within a second. Nothing is read while no request has a
//! key.

pub mod issue;
mod service_keys;
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::ports::{ApiKey, ApiKeyStore, Clock, KeySecrets, PortError, StoredKey};
use crate::domain::api_key::{KeyId, KeyText};

/// What is older is read again by one caller, while the others still go by it.
const REFRESH_AGE: Duration = Duration::from_millis(400);
/// What is older is not used. Below a second, within which a revoked key must be known.
const MAX_AGE: Duration = Duration::from_millis(900);
/// A key that is not in what is older is looked for once more: it may be new. Younger knowledge is not read again, so that forged keys
/// cost PostgreSQL at most twenty reads a second.
const UNKNOWN_AGE: Duration = Duration::from_millis(50);
/// Time after which every instance knows a new key.
pub const NEW_KEY_SETTLES_IN: Duration = UNKNOWN_AGE;
/// How often the use of a key is recorded, at most.
const RECORD_INTERVAL: Duration = Duration::from_mins(1);

/// What a presented key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verified {
    /// A key that may be used.
    Accepted(Arc<ApiKey>),
    /// A key that has ended.
    Expired,
    /// No key: mistyped, forged, or revoked.
    Unknown,
}

/// Verifies keys.
pub struct ApiKeys {
    store: Arc<dyn ApiKeyStore>,
    secrets: Arc<dyn KeySecrets>,
    clock: Arc<dyn Clock>,
    known: Mutex<Option<Arc<Known>>>,
    /// Held by the caller that reads.
    reading: tokio::sync::Mutex<()>,
    /// When the use of each key was recorded by this instance.
    recorded: Mutex<HashMap<KeyId, Duration>>,
}

/// The keys as they were read.
struct Known {
    /// When the read began, by the monotonic clock.
    began: Duration,
    /// The database's clock then, or later.
    as_of: DateTime<Utc>,
    keys: HashMap<KeyId, (Arc<ApiKey>, StoredKey)>,
}

impl Known {
    fn has_expired(&self, key: &ApiKey, now: Duration) -> bool {
        let passed = chrono::Duration::from_std(now.saturating_sub(self.began));
        let passed = passed.unwrap_or(chrono::Duration::MAX);
        let moment = self.as_of.checked_add_signed(passed).unwrap_or(DateTime::<Utc>::MAX_UTC);
        key.expires_at.is_some_and(|end| end <= moment)
    }
}

impl ApiKeys {
    /// Verifies the keys of this store.
    #[must_use]
    pub fn new(
        store: Arc<dyn ApiKeyStore>,
        secrets: Arc<dyn KeySecrets>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            store,
            secrets,
            clock,
            known: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            recorded: Mutex::default(),
        }
    }

    /// What a presented key is. A text that has not the form of a key costs nothing.
    pub async fn verify(&self, presented: &str) -> Result<Verified, PortError> {
        let Some((id, _)) = KeyText::parse(presented) else { return Ok(Verified::Unknown) };
        let known = self.known_with(id).await?;
        let Some((key, stored)) = known.keys.get(&id) else { return Ok(Verified::Unknown) };
        if !self.secrets.is_genuine(presented, stored) {
            return Ok(Verified::Unknown);
        }
        if known.has_expired(key, self.clock.monotonic()) {
            return Ok(Verified::Expired);
        }
        self.record_use(id).await;
        Ok(Verified::Accepted(Arc::clone(key)))
    }

    /// The key of this id, `key_…`, with its text as its holder has it, which signs requests; `None` unless it may be used. After
    /// accepting a signature, call [`Self::record_use`].
    pub async fn signing_key(&self, id: &str) -> Result<Option<(Arc<ApiKey>, KeyText)>, PortError> {
        let Some(id) = KeyId::parse(id) else { return Ok(None) };
        let known = self.known_with(id).await?;
        let Some((key, stored)) = known.keys.get(&id) else { return Ok(None) };
        let text = self.secrets.text(id, &stored.salt);
        // A key of another configured secret has another text than its holder's.
        let is_usable = self.secrets.is_genuine(text.reveal(), stored)
            && !known.has_expired(key, self.clock.monotonic());
        Ok(is_usable.then(|| (Arc::clone(key), text)))
    }

    /// Records that a key is used now, at most once a minute. It is not worth an error.
    pub async fn record_use(&self, id: KeyId) {
        let now = self.clock.monotonic();
        {
            let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
            match recorded.get(&id) {
                Some(last) if now.saturating_sub(*last) < RECORD_INTERVAL => return,
                _ => recorded.insert(id, now),
            };
        }
        if let Err(error) = self.store.used(id).await {
            tracing::debug!(%error, "the use of an api key is not recorded");
        }
    }

    /// The keys, read less than [`MAX_AGE`] ago. If they lack this key, they were read less than [`UNKNOWN_AGE`] ago.
    async fn known_with(&self, id: KeyId) -> Result<Arc<Known>, PortError> {
        let known = self.known().await?;
        if known.keys.contains_key(&id) {
            return Ok(known);
        }
        let _reading = self.reading.lock().await;
        match self.remembered() {
            Some((known, age)) if age < UNKNOWN_AGE => Ok(known),
            _ => self.read().await,
        }
    }

    /// The keys, read less than [`MAX_AGE`] ago.
    async fn known(&self) -> Result<Arc<Known>, PortError> {
        match self.remembered() {
            Some((known, age)) if age < REFRESH_AGE => return Ok(known),
            Some((known, age)) if age < MAX_AGE => {
                let Ok(_reading) = self.reading.try_lock() else { return Ok(known) };
                return match self.read().await {
                    Ok(read) => Ok(read),
                    // What is known is good until it is too old.
                    Err(error) => match self.remembered() {
                        Some((known, age)) if age < MAX_AGE => Ok(known),
                        _ => Err(error),
                    },
                };
            }
            _ => {}
        }
        let _reading = self.reading.lock().await;
        match self.remembered() {
            // Another caller has read it meanwhile.
            Some((known, age)) if age < MAX_AGE => Ok(known),
            _ => self.read().await,
        }
    }

    fn remembered(&self) -> Option<(Arc<Known>, Duration)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let age = self.clock.monotonic().saturating_sub(known.began);
        Some((known, age))
    }

    async fn read(&self) -> Result<Arc<Known>, PortError> {
        let began = self.clock.monotonic();
        let in_use = self.store.in_use().await?;
        let keys = in_use.keys.into_iter();
        let keys = keys.map(|stored| (stored.key.id, (Arc::new(stored.key.clone()), stored)));
        let keys: HashMap<_, _> = keys.collect();
        self.recorded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|id, _| keys.contains_key(id));
        let known = Arc::new(Known { began, as_of: in_use.as_of, keys });
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&known));
        Ok(known)
    }
}
