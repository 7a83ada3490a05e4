//! `events.*`: where events are delivered to, and how long they are kept.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::config::reader::Reader;
use crate::config::units::{DAY, HOUR};

/// `events.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct EventsConfig {
    pub keep: Duration,
    pub stream: Option<EventStreamConfig>,
    pub nats: Option<NatsConfig>,
}

/// `events.stream.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct EventStreamConfig {
    pub max_length: usize,
}

/// `events.nats.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct NatsConfig {
    pub url: SecretString,
    pub stream: String,
}

impl EventsConfig {
    pub(crate) fn read(read: &mut Reader) -> Self {
        let is_streamed = read.flag("events.stream.enabled");
        let max_length = read.number("events.stream.max_length", 1_000..=100_000_000);
        let (url, stream) = (read.secret("events.nats.url"), stream_name(read));
        Self {
            keep: read.duration("events.keep", HOUR..=365 * DAY),
            stream: is_streamed.then_some(EventStreamConfig { max_length }),
            nats: (!url.expose_secret().is_empty()).then_some(NatsConfig { url, stream }),
        }
    }
}

/// NATS refuses the rest.
fn stream_name(read: &mut Reader) -> String {
    const KEY: &str = "events.nats.stream";
    let name = read.filled(KEY);
    let is_allowed =
        |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if name.len() > 128 || !name.chars().all(is_allowed) {
        read.fault(KEY, "must have at most 128 letters, digits, underscores and hyphens");
    }
    name
}
