//! Endpoints that receive events as a test says, and the secrets of new ones.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use crate::application::ports::{
    EndpointAnswer, Message, NoAnswer, Target, UnfitUrl, WebhookId, WebhookSecret, WebhookSecrets,
    WebhookSender,
};

/// What an endpoint does with an event of this id.
type Behaviour = Box<dyn FnMut(&str) -> Result<EndpointAnswer, NoAnswer> + Send>;

/// Endpoints, by URL. One that nothing is said of accepts everything.
#[derive(Default)]
pub(crate) struct FakeEndpoints {
    behaviours: Mutex<HashMap<String, (Duration, Behaviour)>>,
    received: Mutex<HashMap<String, Vec<String>>>,
}

impl FakeEndpoints {
    /// Endpoints that accept everything at once.
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// An endpoint that answers after a time, with a status for each event.
    pub(crate) fn answers(
        &self,
        url: &str,
        delay: Duration,
        mut status: impl FnMut(&str) -> u16 + Send + 'static,
    ) {
        self.behaves(url, delay, move |event| Ok(answer(status(event))));
    }

    /// An endpoint that does this after a time.
    pub(crate) fn behaves(
        &self,
        url: &str,
        delay: Duration,
        behaviour: impl FnMut(&str) -> Result<EndpointAnswer, NoAnswer> + Send + 'static,
    ) {
        let behaviour: Behaviour = Box::new(behaviour);
        self.behaviours.lock().unwrap().insert(url.to_owned(), (delay, behaviour));
    }

    /// The ids of the events that an endpoint accepted, in order.
    pub(crate) fn received(&self, url: &str) -> Vec<String> {
        self.received.lock().unwrap().get(url).cloned().unwrap_or_default()
    }
}

/// An answer without anything else.
pub(crate) fn answer(status: u16) -> EndpointAnswer {
    EndpointAnswer { status, retry_after: None, beginning: String::new() }
}

#[async_trait]
impl WebhookSender for FakeEndpoints {
    fn endpoint(&self, url: &str) -> Result<String, UnfitUrl> {
        let is_fit = url.starts_with("https://");
        if is_fit { Ok(url.to_owned()) } else { Err(UnfitUrl("not https".to_owned())) }
    }

    async fn send(&self, target: &Target, message: &Message) -> Result<EndpointAnswer, NoAnswer> {
        let url = target.url.to_string();
        let delay = self.behaviours.lock().unwrap().get(&url).map(|(delay, _)| *delay);
        tokio::time::sleep(delay.unwrap_or_default()).await;
        let mut behaviours = self.behaviours.lock().unwrap();
        let answered = match behaviours.get_mut(&url) {
            Some((_, behaviour)) => behaviour(&message.id)?,
            None => answer(200),
        };
        if (200..300).contains(&answered.status) {
            self.received.lock().unwrap().entry(url).or_default().push(message.id.clone());
        }
        Ok(answered)
    }
}

/// Ids and secrets in order.
#[derive(Default)]
pub(crate) struct FakeSecrets(AtomicU32);

impl FakeSecrets {
    /// The first are `wh_new_0` and `whsec_1`.
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }
}

impl WebhookSecrets for FakeSecrets {
    fn id(&self) -> Option<WebhookId> {
        Some(WebhookId::new(format!("wh_new_{}", self.0.fetch_add(1, Ordering::Relaxed))))
    }

    fn secret(&self) -> Option<WebhookSecret> {
        Some(WebhookSecret::new(format!("whsec_{}", self.0.fetch_add(1, Ordering::Relaxed))))
    }
}
