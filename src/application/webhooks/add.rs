//! Add an endpoint. It receives what happens from now on.

use std::sync::Arc;

use crate::application::ports::{
    EventKind, EventPositions, MAX_WEBHOOKS, NewWebhook, PortError, UnfitUrl, WebhookSecrets,
    WebhookSender, WebhookStore,
};

/// Why an endpoint is not added.
#[derive(Debug, thiserror::Error)]
pub enum AddWebhookError {
    /// Its URL cannot be one.
    #[error(transparent)]
    Url(#[from] UnfitUrl),
    /// There are as many as there may be.
    #[error("there are {MAX_WEBHOOKS} webhooks already: remove one first")]
    TooMany,
    /// The machine has no randomness for a secret.
    #[error("the machine returned no random bytes for a secret")]
    NoRandomness,
    /// A port failed.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// Adds endpoints.
pub struct AddWebhook {
    store: Arc<dyn WebhookStore>,
    sender: Arc<dyn WebhookSender>,
    log: Arc<dyn EventPositions>,
    secrets: Arc<dyn WebhookSecrets>,
}

impl AddWebhook {
    /// Over these ports.
    #[must_use]
    pub fn new(
        store: Arc<dyn WebhookStore>,
        sender: Arc<dyn WebhookSender>,
        log: Arc<dyn EventPositions>,
        secrets: Arc<dyn WebhookSecrets>,
    ) -> Self {
        Self { store, sender, log, secrets }
    }

    /// Adds an endpoint for these kinds, or for all if there are none, and returns it with its secret.
    pub async fn execute(
        &self,
        url: &str,
        events: Vec<EventKind>,
        actor: &str,
    ) -> Result<NewWebhook, AddWebhookError> {
        let url = self.sender.endpoint(url)?;
        let id = self.secrets.id().ok_or(AddWebhookError::NoRandomness)?;
        let secret = self.secrets.secret().ok_or(AddWebhookError::NoRandomness)?;
        let position = self.log.end().await?;
        let webhook = NewWebhook { id, url, events, secret, position };
        if self.store.add(&webhook, actor).await? {
            Ok(webhook)
        } else {
            Err(AddWebhookError::TooMany)
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::clone_on_ref_ptr,
        reason = "an Arc of a fake becomes an Arc of its port, for which `Arc::clone` needs the fake's type"
    )]

    use super::*;
    use crate::application::ports::MockEventPositions;
    use crate::testing::builders::unavailable;
    use crate::testing::fakes::{FakeEndpoints, FakeEventLog, FakeSecrets, FakeWebhooks};

    #[tokio::test]
    async fn a_new_endpoint_begins_at_the_end_of_the_log() {
        let (store, log) = (FakeWebhooks::new(), FakeEventLog::new());
        log.append(&["ann"]);
        log.append(&["bob"]);
        let add = AddWebhook::new(store.clone(), FakeEndpoints::new(), log, FakeSecrets::new());

        let added =
            add.execute("https://a.example/hook", vec![EventKind::SaleEnded], "eve").await.unwrap();

        assert_eq!(added.position, 2);
        let listed = store.list().await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!((&listed[0].id, listed[0].position), (&added.id, 2));
        assert_eq!(listed[0].events, [EventKind::SaleEnded]);
    }

    #[tokio::test]
    async fn an_unfit_url_and_one_endpoint_too_many_are_refused() {
        let store = FakeWebhooks::new();
        let (sender, log) = (FakeEndpoints::new(), FakeEventLog::new());
        let add = AddWebhook::new(store.clone(), sender, log, FakeSecrets::new());

        let unfit = add.execute("ftp://a.example/", vec![], "eve").await;
        assert!(matches!(unfit, Err(AddWebhookError::Url(_))));
        for number in 0..MAX_WEBHOOKS {
            add.execute(&format!("https://a.example/{number}"), vec![], "eve").await.unwrap();
        }
        let last = add.execute("https://a.example/last", vec![], "eve").await;

        assert!(matches!(last, Err(AddWebhookError::TooMany)));
        assert_eq!(store.list().await.unwrap().len(), MAX_WEBHOOKS);
    }

    #[tokio::test]
    async fn without_the_log_nothing_is_added() {
        let (store, mut log) = (FakeWebhooks::new(), MockEventPositions::new());
        log.expect_end().returning(|| Err(unavailable()));
        let sender = FakeEndpoints::new();
        let add = AddWebhook::new(store.clone(), sender, Arc::new(log), FakeSecrets::new());

        assert!(add.execute("https://a.example/", vec![], "eve").await.is_err());
        assert_eq!(store.list().await.unwrap(), []);
    }
}
