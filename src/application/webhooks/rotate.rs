//! Give an endpoint a new secret. The one before signs as well for a day, so that receivers have time to take the new one.

use std::sync::Arc;
use std::time::Duration;

use crate::application::ports::{
    PortError, WebhookId, WebhookSecret, WebhookSecrets, WebhookStore,
};

/// How long the secret before signs as well.
const OVERLAP: Duration = Duration::from_hours(24);

/// Why there is no new secret.
#[derive(Debug, thiserror::Error)]
pub enum RotateSecretError {
    /// The machine has no randomness for one.
    #[error("the machine returned no random bytes for a secret")]
    NoRandomness,
    /// A port failed.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// Rotates secrets.
pub struct RotateSecret {
    store: Arc<dyn WebhookStore>,
    secrets: Arc<dyn WebhookSecrets>,
}

impl RotateSecret {
    /// Over these ports.
    #[must_use]
    pub fn new(store: Arc<dyn WebhookStore>, secrets: Arc<dyn WebhookSecrets>) -> Self {
        Self { store, secrets }
    }

    /// Returns the new secret; `None` if the endpoint does not exist.
    pub async fn execute(
        &self,
        id: &WebhookId,
        actor: &str,
    ) -> Result<Option<WebhookSecret>, RotateSecretError> {
        let secret = self.secrets.secret().ok_or(RotateSecretError::NoRandomness)?;
        Ok(self.store.rotate(id, &secret, OVERLAP, actor).await?.then_some(secret))
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::clone_on_ref_ptr,
        reason = "an Arc of a fake becomes an Arc of its port, for which `Arc::clone` needs the fake's type"
    )]

    use super::*;
    use crate::testing::builders::new_webhook;
    use crate::testing::fakes::{FakeSecrets, FakeWebhooks};

    #[tokio::test]
    async fn the_new_secret_signs_first_and_the_one_before_too() {
        let store = FakeWebhooks::new();
        let webhook = new_webhook(1);
        store.add(&webhook, "eve").await.unwrap();
        let rotate = RotateSecret::new(store.clone(), FakeSecrets::new());

        let secret = rotate.execute(&webhook.id, "eve").await.unwrap().unwrap();

        let target = store.target(&webhook.id).await.unwrap().unwrap();
        assert_eq!(target.secrets, [secret, webhook.secret]);
        assert_eq!(rotate.execute(&WebhookId::new("wh_0"), "eve").await.unwrap(), None);
    }
}
