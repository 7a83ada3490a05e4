//! Issue a key: its secret is derived, shown once, and not stored.

use std::sync::Arc;

use crate::application::ports::{
    ApiKey, ApiKeyStore, KeyExpiry, KeySecrets, NewApiKey, NewKeyRefusal, PortError,
};
use crate::domain::api_key::{KeyName, KeyText, Scopes};

/// Why no key is issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueKeyError {
    /// It may not be.
    #[error(transparent)]
    Refused(#[from] NewKeyRefusal),
    /// The machine has no randomness for one.
    #[error("the machine returned no random bytes for a key")]
    NoRandomness,
    /// A port failed.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// The use case.
pub struct IssueKey {
    store: Arc<dyn ApiKeyStore>,
    secrets: Arc<dyn KeySecrets>,
}

impl IssueKey {
    /// Issues keys into this store.
    #[must_use]
    pub fn new(store: Arc<dyn ApiKeyStore>, secrets: Arc<dyn KeySecrets>) -> Self {
        Self { store, secrets }
    }

    /// Issues a key, and records `actor` with it. Returns it as its holder gets it, this once.
    pub async fn execute(
        &self,
        (name, scopes): (KeyName, Scopes),
        expiry: KeyExpiry,
        actor: &str,
    ) -> Result<(ApiKey, KeyText), IssueKeyError> {
        let (id, salt) = self.secrets.random().ok_or(IssueKeyError::NoRandomness)?;
        let text = self.secrets.text(id, &salt);
        let hash = self.secrets.hash(id, &salt);
        let new = NewApiKey { id, name, scopes, expiry, salt, hash };
        let key = self.store.add(&new, actor).await??;
        Ok((key, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::{MockApiKeyStore, MockKeySecrets};
    use crate::domain::api_key::{KEY_ID_BYTES, KEY_SECRET_BYTES, KeyId, Scope};

    fn name_and_scopes() -> (KeyName, Scopes) {
        (KeyName::parse("ci").unwrap(), Scopes::new([Scope::Read]).unwrap())
    }

    #[tokio::test]
    async fn without_randomness_no_key_is_stored() {
        let mut secrets = MockKeySecrets::new();
        secrets.expect_random().returning(|| None);
        let issue = IssueKey::new(Arc::new(MockApiKeyStore::new()), Arc::new(secrets));

        let refused = issue.execute(name_and_scopes(), KeyExpiry::Never, "eve").await;

        assert!(matches!(refused, Err(IssueKeyError::NoRandomness)));
    }

    #[tokio::test]
    async fn the_store_gets_the_hash_and_the_operator_and_not_the_secret() {
        let id = KeyId::new([1; KEY_ID_BYTES]);
        let mut secrets = MockKeySecrets::new();
        secrets.expect_random().returning(move || Some((id, [2; 16])));
        secrets.expect_text().returning(|id, _| KeyText::new(id, &[3; KEY_SECRET_BYTES]));
        secrets.expect_hash().returning(|_, _| [4; 32]);
        let mut store = MockApiKeyStore::new();
        store.expect_add().once().returning(|new, actor| {
            assert_eq!((new.salt, new.hash, actor), ([2; 16], [4; 32], "eve"));
            Ok(Err(NewKeyRefusal::TooMany))
        });
        let issue = IssueKey::new(Arc::new(store), Arc::new(secrets));

        let refused = issue.execute(name_and_scopes(), KeyExpiry::Never, "eve").await;

        assert!(matches!(refused, Err(IssueKeyError::Refused(NewKeyRefusal::TooMany))));
    }
}
