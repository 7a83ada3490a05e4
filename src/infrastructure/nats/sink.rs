//! Publishes events to a stream of JetStream, which drops those that it has.

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
    context: OnceCell<Context>,
}

impl NatsSink {
    /// Prepares it without a connection: the service starts without NATS too.
    pub(crate) fn new(url: &SecretString, stream: &str) -> Result<Self, InvalidNats> {
        let servers = url.expose_secret().split(',').map(|url| url.trim().parse::<ServerAddr>());
        // The driver's message may repeat the URL, which may contain a password.
        let servers = servers.collect::<Result<Vec<_>, _>>();
        let servers = servers.map_err(|error| InvalidNats(error.kind().to_string()))?;
        Ok(Self { servers, stream: stream.to_owned(), context: OnceCell::new() })
    }

    /// The connection, which comes back by itself when it breaks, and the stream on it.
    async fn context(&self) -> Result<&Context, PortError> {
        let connect = || async {
            let options = ConnectOptions::new().name("flash-sale").connection_timeout(TIMEOUT);
            let connected = options.connect(self.servers.as_slice()).await.map_err(unavailable)?;
            let context = with_timeout(connected);
            self.make_stream(&context).await?;
            Ok(context)
        };
        self.context.get_or_try_init(connect).await
    }

    /// The stream, unless there is one of this name, whose settings are its owner's.
    async fn make_stream(&self, context: &Context) -> Result<(), PortError> {
        let config = stream::Config {
            name: self.stream.clone(),
            subjects: vec![SUBJECTS.to_owned()],
            storage: stream::StorageType::File,
            duplicate_window: DUPLICATE_WINDOW,
            ..stream::Config::default()
        };
        context.get_or_create_stream(config).await.map_err(unavailable)?;
        Ok(())
    }

    /// Publishes them in their order.
    ///
    /// All are on the way at once, and each names the one before it, without which the server does not store it: a connection that
    /// breaks in between loses some, and what comes after these on the next one would be stored first.
    async fn publish(context: &Context, events: &[Event]) -> Result<(), PublishError> {
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
        for (event, answer) in events.iter().zip(answers) {
            let stored = answer.await;
            // Others publish to this stream as well, or an earlier try has stored some.
            if matches!(&stored, Err(error) if error.kind() == PublishErrorKind::WrongLastMessageId)
            {
                publish_alone(context, event).await?;
            } else {
                stored?;
            }
        }
        Ok(())
    }
}

/// Publishes it when all before it are stored.
async fn publish_alone(context: &Context, event: &Event) -> Result<(), PublishError> {
    context.send_publish(event.kind.type_name(), message(event)).await?.await?;
    Ok(())
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
        let context = self.context().await?;
        for events in events.chunks(IN_FLIGHT) {
            if let Err(error) = Self::publish(context, events).await {
                // An operator has removed the stream.
                if error.kind() == PublishErrorKind::StreamNotFound {
                    self.make_stream(context).await?;
                }
                return Err(unavailable(error));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
