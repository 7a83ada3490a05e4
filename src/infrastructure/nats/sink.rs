//! Publishes events to a stream of JetStream, which drops those that it has.

use std::collections::HashSet;
use std::time::Duration;

use async_nats::jetstream::context::{Context, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, stream};
use async_nats::{Client, ConnectOptions, ServerAddr};
use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OnceCell;

use crate::application::ports::{Event, EventSink, PortError};

const WHAT: &str = "nats";
/// All events' types begin with it, and are the subjects.
const SUBJECTS: &str = "flash_sale.>";
/// The server forgets ids after this time: longer than a failed delivery takes until it is repeated.
const DUPLICATE_WINDOW: Duration = Duration::from_mins(10);
/// Maximum time until the server has stored an event.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Most events that wait for the server at a time.
const IN_FLIGHT: usize = 256;

/// The configuration names no server.
#[derive(Debug, thiserror::Error)]
#[error("events.nats.url is not a list of NATS URLs: {0}")]
pub(crate) struct InvalidNats(String);

/// Publishes to JetStream.
pub(crate) struct NatsSink {
    servers: Vec<ServerAddr>,
    stream: String,
    connected: OnceCell<Connected>,
}

/// The connection, which comes back by itself when it breaks.
struct Connected {
    context: Context,
    /// Whether several servers have the stream.
    is_replicated: bool,
}

impl NatsSink {
    /// Prepares it without a connection: the service starts without NATS too.
    pub(crate) fn new(url: &SecretString, stream: &str) -> Result<Self, InvalidNats> {
        let servers = url.expose_secret().split(',').map(|url| url.trim().parse::<ServerAddr>());
        // The driver's message may repeat the URL, which may contain a password.
        let servers = servers.collect::<Result<Vec<_>, _>>();
        let servers = servers.map_err(|error| InvalidNats(error.kind().to_string()))?;
        Ok(Self { servers, stream: stream.to_owned(), connected: OnceCell::new() })
    }

    /// The connection, with the stream on it.
    async fn connected(&self) -> Result<&Connected, PortError> {
        let connect = || async {
            let options = ConnectOptions::new().name("flash-sale").connection_timeout(TIMEOUT);
            let connected = options.connect(self.servers.as_slice()).await.map_err(unavailable)?;
            let context = with_timeout(connected);
            let is_replicated = self.make_stream(&context).await? > 1;
            Ok(Connected { context, is_replicated })
        };
        self.connected.get_or_try_init(connect).await
    }

    /// Makes the stream, unless there is one of this name, whose settings are its owner's. Returns how many servers have it.
    async fn make_stream(&self, context: &Context) -> Result<usize, PortError> {
        let config = stream::Config {
            name: self.stream.clone(),
            subjects: vec![SUBJECTS.to_owned()],
            storage: stream::StorageType::File,
            duplicate_window: DUPLICATE_WINDOW,
            ..stream::Config::default()
        };
        let stream = context.get_or_create_stream(config).await.map_err(unavailable)?;
        Ok(stream.cached_info().config.num_replicas)
    }

    /// Publishes them in their order.
    async fn publish(connected: &Connected, events: &[Event]) -> Result<(), PublishError> {
        let Connected { context, is_replicated } = connected;
        if *is_replicated {
            // Several servers agree on a message before one of them compares it with the one before.
            for wave in waves(events) {
                publish_at_once(context, wave).await?;
            }
            return Ok(());
        }
        let mut left = events;
        while !left.is_empty() {
            left = &left[publish_in_a_row(context, left).await?..];
        }
        Ok(())
    }
}

/// Publishes them, all on the way at once. Each names the one before it, without which the server does not store it: a connection that
/// breaks in between loses some, and what comes after these on the next one would be stored first.
///
/// Returns how many are stored before the first that was refused: at least one. Others publish to this stream as well then, or an
/// earlier try has stored some.
async fn publish_in_a_row(context: &Context, events: &[Event]) -> Result<usize, PublishError> {
    let mut answers = Vec::with_capacity(events.len());
    let mut before: Option<&Event> = None;
    for event in events {
        let mut message = message(event);
        if let Some(before) = before {
            message = message.expected_last_message_id(&before.id);
        }
        answers.push(context.send_publish(event.kind.type_name(), message).await?);
        before = Some(event);
    }
    let mut stored = None;
    for (place, answer) in answers.into_iter().enumerate() {
        match answer.await {
            Err(error) if error.kind() == PublishErrorKind::WrongLastMessageId => {
                stored = stored.or(Some(place));
            }
            // What follows a refused one is published again.
            _ if stored.is_some() => {}
            answer => drop(answer?),
        }
    }
    Ok(stored.unwrap_or(events.len()))
}

/// Publishes them, all on the way at once, in any order.
async fn publish_at_once(context: &Context, events: &[Event]) -> Result<(), PublishError> {
    let mut answers = Vec::with_capacity(events.len());
    for event in events {
        answers.push(context.send_publish(event.kind.type_name(), message(event)).await?);
    }
    for answer in answers {
        answer.await?;
    }
    Ok(())
}

/// Splits the events into parts that may be sent at once: within a part, no two events share an order key.
fn waves(events: &[Event]) -> Vec<&[Event]> {
    let (mut waves, mut keys, mut start) = (Vec::new(), HashSet::new(), 0);
    for (place, event) in events.iter().enumerate() {
        if !keys.insert(event.order_key.as_str()) {
            waves.push(&events[start..place]);
            (keys, start) = (HashSet::from([event.order_key.as_str()]), place);
        }
    }
    waves.push(&events[start..]);
    waves
}

fn message(event: &Event) -> PublishMessage {
    PublishMessage::build()
        .payload(event.body.clone())
        .message_id(&event.id)
        .header("Content-Type", "application/cloudevents+json")
}

fn with_timeout(client: Client) -> Context {
    jetstream::context::ContextBuilder::new()
        .timeout(TIMEOUT)
        .ack_timeout(TIMEOUT)
        .max_ack_inflight(IN_FLIGHT * 2)
        .build(client)
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> PortError {
    PortError::Unavailable { what: WHAT, source: Box::new(error) }
}

#[async_trait]
impl EventSink for NatsSink {
    fn name(&self) -> &'static str {
        "nats"
    }

    async fn deliver(&self, events: &[Event]) -> Result<(), PortError> {
        let connected = self.connected().await?;
        for events in events.chunks(IN_FLIGHT) {
            if let Err(error) = Self::publish(connected, events).await {
                // An operator has removed the stream.
                if error.kind() == PublishErrorKind::StreamNotFound {
                    self.make_stream(&connected.context).await?;
                }
                return Err(unavailable(error));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use chrono::DateTime;

    use super::*;
    use crate::application::ports::EventKind;

    #[test]
    fn events_of_one_key_are_never_on_the_way_together() {
        let event = |key: &str| Event {
            id: String::new(),
            kind: EventKind::SaleOpened,
            order_key: key.to_owned(),
            time: DateTime::UNIX_EPOCH,
            body: Bytes::new(),
        };
        let events = ["ann", "bob", "ann", "carl", "carl", "ann"].map(event);

        let lengths: Vec<usize> = waves(&events).iter().map(|wave| wave.len()).collect();

        assert_eq!(lengths, [2, 2, 2]);
    }

    #[test]
    fn several_servers_are_a_list() {
        let sink = NatsSink::new(&"nats://a:4222, tls://b".into(), "EVENTS").unwrap();

        assert_eq!(sink.servers.len(), 2);
    }

    #[test]
    fn what_is_no_url_is_refused_without_its_password() {
        let error = NatsSink::new(&"http://ann:secret@a".into(), "EVENTS").err().unwrap();

        assert!(error.to_string().contains("events.nats.url"), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
