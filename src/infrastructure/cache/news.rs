//! News between instances over pub/sub: what sold out, within milliseconds. Who misses it learns later.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::connection::Redis;
use super::courier::Courier;
use crate::application::ports::{News, StockFacts};
use crate::domain::ids::{ItemNo, SaleId};

/// Pause before a broken subscription is made again.
const RESUBSCRIBE_AFTER: Duration = Duration::from_millis(500);

/// Tells news through the courier.
pub(crate) struct RedisNews {
    courier: Courier,
}

impl RedisNews {
    pub(crate) fn new(courier: Courier) -> Self {
        Self { courier }
    }
}

impl News for RedisNews {
    fn tell(&self, sale: SaleId, facts: &StockFacts) {
        self.courier.news(sale, facts);
    }
}

/// Called with everything that other instances tell, and with what this one tells itself.
pub(crate) type OnNews = Arc<dyn Fn(SaleId, &StockFacts) + Send + Sync>;

/// Listens.
pub(crate) struct NewsListener {
    redis: Redis,
    on_news: OnNews,
}

impl NewsListener {
    pub(crate) fn new(redis: Redis, on_news: OnNews) -> Self {
        Self { redis, on_news }
    }

    /// Listens until `stop`, subscribing again whenever the connection breaks.
    pub(crate) async fn listen(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => return,
                result = self.subscribed() => {
                    if let Err(error) = result {
                        tracing::debug!(error = error.category(), "no news from redis");
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RESUBSCRIBE_AFTER) => {}
            }
        }
    }

    async fn subscribed(&self) -> Result<(), redis::RedisError> {
        let mut subscription = self.redis.client().get_async_pubsub().await?;
        subscription.subscribe(self.redis.keys().news()).await?;
        let mut messages = subscription.on_message();
        while let Some(message) = messages.next().await {
            let text: String = message.get_payload()?;
            if let Some((sale, facts)) = parse(&text) {
                (self.on_news)(sale, &facts);
            }
        }
        Ok(())
    }
}

/// Publishes once.
pub(crate) async fn publish(redis: &Redis, sale: SaleId, facts: &StockFacts) {
    let mut manager = redis.manager();
    let mut publish = redis::cmd("PUBLISH");
    publish.arg(redis.keys().news()).arg(format(sale, facts));
    if let Err(error) = redis.call("the news", publish.query_async::<i64>(&mut manager)).await {
        tracing::debug!(%error, "redis was not told");
    }
}

/// `sale generation item item …`
fn format(sale: SaleId, facts: &StockFacts) -> String {
    let mut text = format!("{} {}", sale.get(), facts.generation);
    for item in &facts.sold_out {
        text.push(' ');
        text.push_str(&item.0.to_string());
    }
    text
}

fn parse(text: &str) -> Option<(SaleId, StockFacts)> {
    let mut words = text.split(' ');
    let sale = SaleId::new(words.next()?.parse().ok()?)?;
    let generation = words.next()?.parse().ok()?;
    let sold_out = words.map(|word| word.parse().map(ItemNo)).collect::<Result<_, _>>().ok()?;
    Some((sale, StockFacts { generation, sold_out, sold: Vec::new() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::contracts::news::news_contract;
    use crate::testing::servers::RedisWorld;

    news_contract!(RedisWorld::open());

    #[test]
    fn news_comes_back_from_its_text() {
        let sale = SaleId::new(3).unwrap();
        let facts = StockFacts {
            generation: 2,
            sold_out: vec![ItemNo(1), ItemNo(10_000)],
            sold: Vec::new(),
        };

        assert_eq!(parse(&format(sale, &facts)), Some((sale, facts)));
    }

    #[test]
    fn what_is_no_news_is_ignored() {
        for text in ["", "1", "x 1", "1 1 x", "0 1 1"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
