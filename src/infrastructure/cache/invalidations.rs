//! Messages between instances about what to forget of the read cache: `origin word word …`, on a channel of its own.
//!
//! A message is a hint. A forged one makes instances read again what they know, and nothing else; one that is lost leaves pages
//! where they are until they expire.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::connection::Redis;
use super::reason;
use crate::application::ports::{CacheScope, PortError};
use crate::domain::ids::{BuyerId, SaleId};

/// Pause before subscribing again.
const RESUBSCRIBE_AFTER: Duration = Duration::from_millis(500);
/// The origin of messages that no instance has sent.
pub(super) const ORIGIN: &str = "operator";
/// Everything is to be forgotten.
const ALL: &str = "all";

/// What is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Forgotten {
    /// The pages of a scope, which a purchase has outdated.
    Outdated(CacheScope),
    /// The pages of a scope: an operator says so.
    Scope(CacheScope),
    /// All pages in the process.
    All,
}

/// Called with everything that another process says is to be forgotten.
pub(crate) type OnForgotten = Arc<dyn Fn(Forgotten) + Send + Sync>;

/// The message about these scopes.
pub(crate) fn of_scopes(origin: &str, scopes: &[CacheScope]) -> String {
    scopes.iter().fold(origin.to_owned(), |mut text, scope| {
        text.push(' ');
        text.push_str(&word(scope));
        text
    })
}

/// The message about everything.
pub(crate) fn of_all(origin: &str) -> String {
    format!("{origin} {ALL}")
}

/// Publishes a message once.
pub(crate) async fn publish(redis: &Redis, message: &str) -> Result<(), PortError> {
    let mut manager = redis.manager();
    let mut publish = redis::cmd("PUBLISH");
    publish.arg(redis.keys().read_invalidations()).arg(message);
    redis.call("the read cache", publish.query_async::<i64>(&mut manager)).await?;
    Ok(())
}

fn word(scope: &CacheScope) -> String {
    match scope {
        CacheScope::Sales => "sales".to_owned(),
        CacheScope::Sale(sale) => format!("sale:{}", sale.get()),
        // A user id has no spaces.
        CacheScope::Buyer(buyer) => format!("buyer:{}", buyer.as_str()),
    }
}

/// What a message of another process says. A word that is not understood, perhaps of a later release, means everything.
fn parse(text: &str, own: &str) -> Vec<Forgotten> {
    let mut words = text.split(' ');
    let forgotten = match words.next() {
        Some(origin) if origin == own => return Vec::new(),
        Some(ORIGIN) => Forgotten::Scope,
        _ => Forgotten::Outdated,
    };
    words.map(|word| scope_of(word).map_or(Forgotten::All, forgotten)).collect()
}

fn scope_of(word: &str) -> Option<CacheScope> {
    if word == "sales" {
        return Some(CacheScope::Sales);
    }
    match word.split_once(':')? {
        ("sale", number) => SaleId::new(number.parse().ok()?).map(CacheScope::Sale),
        ("buyer", buyer) => BuyerId::parse(buyer).ok().map(CacheScope::Buyer),
        _ => None,
    }
}

/// Receives the messages of all processes.
pub(crate) struct InvalidationListener {
    redis: Redis,
    instance: String,
    on_forgotten: OnForgotten,
}

impl InvalidationListener {
    /// Ignores the messages of the instance with this name, which is this one.
    pub(crate) fn new(redis: Redis, instance: String, on_forgotten: OnForgotten) -> Self {
        Self { redis, instance, on_forgotten }
    }

    /// Listens until `stop`, subscribing again whenever the connection breaks.
    pub(crate) async fn listen(self, stop: CancellationToken) {
        let forever = async {
            while !stop.is_cancelled() {
                if let Err(error) = self.receive().await {
                    self.redis.note_refusal(&error);
                    let reason = reason::of(&error);
                    tracing::debug!(%reason, "the subscription of the read cache broke");
                }
                tokio::time::sleep(RESUBSCRIBE_AFTER).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = forever => {}
        }
    }

    /// Receives until the subscription breaks, or the master is another one.
    async fn receive(&self) -> Result<(), redis::RedisError> {
        let mut moves = self.redis.moves();
        let Some(mut subscription) = self.redis.subscriber().await? else {
            return Ok(());
        };
        subscription.subscribe(self.redis.keys().read_invalidations()).await?;
        // What was published while the connection was down is unknown.
        (self.on_forgotten)(Forgotten::All);
        let mut messages = subscription.on_message();
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                _ = moves.changed() => None,
            };
            let Some(message) = message else { return Ok(()) };
            // Whatever is published on the channel: a payload may be no text.
            let text = String::from_utf8_lossy(message.get_payload_bytes());
            for one in parse(&text, &self.instance) {
                (self.on_forgotten)(one);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_parsed_from_its_text_by_all_but_its_sender() {
        let scopes = [
            CacheScope::Sales,
            CacheScope::Sale(SaleId::new(7).unwrap()),
            CacheScope::Buyer(BuyerId::parse("a:b").unwrap()),
        ];
        let text = of_scopes("one", &scopes);

        assert_eq!(parse(&text, "two"), scopes.clone().map(Forgotten::Outdated));
        assert_eq!(parse(&of_scopes(ORIGIN, &scopes), "two"), scopes.map(Forgotten::Scope));
        assert_eq!(parse(&text, "one"), []);
        assert_eq!(parse(&of_all("one"), "two"), [Forgotten::All]);
    }

    #[test]
    fn what_is_not_understood_means_everything() {
        for text in ["one sale:0", "one sale:x", "one shop:7", "one buyer:"] {
            assert_eq!(parse(text, "two"), [Forgotten::All], "{text}");
        }
        assert_eq!(parse("", "two"), []);
    }
}
