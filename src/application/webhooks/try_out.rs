//! Send one event to an endpoint now, and show what it answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::application::ports::{
    Clock, EndpointAnswer, Message, NoAnswer, PortError, WebhookId, WebhookSender, WebhookStore,
};

/// What came of it.
#[derive(Debug)]
pub struct TriedOut {
    /// The answer.
    pub answer: Result<EndpointAnswer, NoAnswer>,
    /// How long it took.
    pub took: Duration,
}

/// Tries endpoints out.
pub struct TryOutWebhook {
    store: Arc<dyn WebhookStore>,
    sender: Arc<dyn WebhookSender>,
    clock: Arc<dyn Clock>,
}

impl TryOutWebhook {
    /// Over these ports.
    #[must_use]
    pub fn new(
        store: Arc<dyn WebhookStore>,
        sender: Arc<dyn WebhookSender>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { store, sender, clock }
    }

    /// Sends an event with this id, made by `body` for the time of the database; `None` if the endpoint does not exist.
    pub async fn execute(
        &self,
        id: &WebhookId,
        event_id: String,
        body: impl FnOnce(DateTime<Utc>) -> Bytes + Send,
    ) -> Result<Option<TriedOut>, PortError> {
        let Some(target) = self.store.target(id).await? else { return Ok(None) };
        let at = target.read_at;
        let message = Message { id: event_id, at, body: body(at) };
        let begun = self.clock.monotonic();
        let answer = self.sender.send(&target, &message).await;
        let took = self.clock.monotonic().saturating_sub(begun);
        Ok(Some(TriedOut { answer, took }))
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::clone_on_ref_ptr,
        reason = "an Arc of a fake becomes an Arc of its port, for which `Arc::clone` needs the fake's type"
    )]

    use super::*;
    use crate::application::ports::WebhookChange;
    use crate::testing::builders::{at, new_webhook};
    use crate::testing::fakes::{FakeClock, FakeEndpoints, FakeWebhooks};

    #[tokio::test]
    async fn one_event_is_sent_also_to_an_endpoint_that_is_paused() {
        let (store, endpoints) = (FakeWebhooks::new(), FakeEndpoints::new());
        let webhook = new_webhook(1);
        store.add(&webhook, "eve").await.unwrap();
        store.change(&webhook.id, WebhookChange::Pause, "eve").await.unwrap();
        let clock = FakeClock::at(at(0));
        let try_out = TryOutWebhook::new(store, endpoints.clone(), clock);

        let body = |_| Bytes::from_static(b"{}");
        let tried = try_out.execute(&webhook.id, "evt_test".to_owned(), body).await.unwrap();
        let unknown = WebhookId::new("wh_0");
        let none = try_out.execute(&unknown, "evt_test".to_owned(), body).await.unwrap();

        assert_eq!(tried.unwrap().answer.unwrap().status, 200);
        assert!(none.is_none());
        assert_eq!(endpoints.received(&webhook.url), ["evt_test"]);
    }
}
