//! API keys of operators and services.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::lists::{Cursor, CursorPage};
use super::system::PortError;
use crate::domain::api_key::{KeyId, KeyName, KeyText, Scopes};

/// Maximum number of keys that are not revoked. Every instance has them in memory.
pub const MAX_API_KEYS: usize = 1_000;
/// Bytes of a salt.
pub const KEY_SALT_BYTES: usize = 16;
/// Bytes of the hash of a secret.
pub const KEY_HASH_BYTES: usize = 32;

/// What makes the secret of a key different from those of other keys.
pub type KeySalt = [u8; KEY_SALT_BYTES];
/// What is stored of a secret.
pub type KeyHash = [u8; KEY_HASH_BYTES];

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: KeyId,
    /// Its name.
    pub name: KeyName,
    /// What it may do.
    pub scopes: Scopes,
    /// Who created it.
    pub created_by: String,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it ends; `None`: never.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was last used, to about a minute.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// When a new key ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyExpiry {
    /// Never.
    Never,
    /// At this moment.
    At(DateTime<Utc>),
    /// After this time, by the database's clock.
    After(Duration),
}

/// A key to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApiKey {
    /// Its id.
    pub id: KeyId,
    /// Its name.
    pub name: KeyName,
    /// What it may do.
    pub scopes: Scopes,
    /// When it ends.
    pub expiry: KeyExpiry,
    /// Of its secret.
    pub salt: KeySalt,
    /// Of its secret.
    pub hash: KeyHash,
}

/// Why a key is not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NewKeyRefusal {
    /// There are as many as there may be.
    #[error("there are {MAX_API_KEYS} keys that are not revoked: revoke one first")]
    TooMany,
    /// It would have ended already.
    #[error("the end of a key must be in the future, and before the year 10000")]
    Expired,
}

/// A key that is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedKey {
    /// The key.
    pub key: ApiKey,
    /// Whether this has revoked it; otherwise it was revoked before.
    pub is_changed: bool,
}

/// A key with what verifies its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// The key.
    pub key: ApiKey,
    /// Of its secret.
    pub salt: KeySalt,
    /// Of its secret.
    pub hash: KeyHash,
}

/// The keys that are not revoked, as of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysInUse {
    /// That moment, by the database's clock.
    pub as_of: DateTime<Utc>,
    /// They, the expired ones included.
    pub keys: Vec<StoredKey>,
}

/// The position of a key in the list of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPosition {
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// Its id.
    pub id: KeyId,
}

impl KeyPosition {
    /// The position of this key.
    #[must_use]
    pub fn of(key: &ApiKey) -> Self {
        Self { created_at: key.created_at, id: key.id }
    }
}

/// Stores keys. Each change MUST be committed together with its row in the audit, or not at all.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait ApiKeyStore: Send + Sync {
    /// Adds a key.
    async fn add(
        &self,
        key: &NewApiKey,
        actor: &str,
    ) -> Result<Result<ApiKey, NewKeyRefusal>, PortError>;

    /// Revokes a key for good; `None` if there is none. MUST be seen by every [`Self::in_use`] that begins after it returns.
    async fn revoke(&self, id: KeyId, actor: &str) -> Result<Option<RevokedKey>, PortError>;

    /// All keys, newest first.
    async fn list(
        &self,
        after: Cursor<KeyPosition>,
    ) -> Result<CursorPage<ApiKey, KeyPosition>, PortError>;

    /// All keys that are not revoked.
    async fn in_use(&self) -> Result<KeysInUse, PortError>;

    /// Records that a key is used now.
    async fn used(&self, id: KeyId) -> Result<(), PortError>;
}

/// Makes and checks the secrets of keys.
#[cfg_attr(test, mockall::automock)]
pub trait KeySecrets: Send + Sync {
    /// A new id and a new salt; `None` if the machine has no randomness.
    fn random(&self) -> Option<(KeyId, KeySalt)>;

    /// The key as its holder has it. The same id and salt MUST give the same key.
    fn text(&self, id: KeyId, salt: &KeySalt) -> KeyText;

    /// What is stored of the secret of a key.
    fn hash(&self, id: KeyId, salt: &KeySalt) -> KeyHash;

    /// Whether a presented text is the key of this id. MUST compare in constant time.
    fn is_genuine(&self, presented: &str, stored: &StoredKey) -> bool;
}
