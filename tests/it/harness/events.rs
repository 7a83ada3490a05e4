//! A client of server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use serde_json::Value;
use tokio::time::Instant;

use super::client::{Client, builder};
use super::eventually::PATIENCE;

/// A stream of events.
#[derive(Debug)]
pub(crate) struct Events {
    response: reqwest::Response,
    received: String,
    /// The comments so far.
    pub(crate) comments: usize,
    /// The time after which the client would come back.
    pub(crate) retry: Option<u64>,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: Value,
}

impl Events {
    /// Follows a sale at an instance.
    pub(crate) async fn of(client: &Client, sale: &str, headers: &[(&str, &str)]) -> Self {
        let url = format!("http://{}/v2/sales/{sale}/events", client.address);
        Self::with(&builder().no_gzip().no_zstd().build().unwrap(), &url, headers).await
    }

    /// Follows what a URL has, with this client.
    pub(crate) async fn with(
        client: &reqwest::Client,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Self {
        let mut request = client.get(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200, "{:?}", response.text().await);
        Self { response, received: String::new(), comments: 0, retry: None }
    }

    /// A header of the response.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name).map(|value| value.to_str().unwrap())
    }

    /// The version of HTTP that it came over.
    pub(crate) fn version(&self) -> reqwest::Version {
        self.response.version()
    }

    /// The next event; `None` if the stream ends in order.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.received.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.received = rest;
                if let Some(event) = self.parse(&block) {
                    return Some(event);
                }
                continue;
            }
            if !self.receive().await {
                assert_eq!(self.received, "", "the stream ends within an event");
                return None;
            }
        }
    }

    /// The data of the next event.
    pub(crate) async fn data(&mut self) -> Value {
        self.next().await.unwrap().data
    }

    /// Reads on until an event has these numbers.
    pub(crate) async fn until_pieces(&mut self, sold: u64, remaining: u64) -> Event {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let event = self.next().await.unwrap();
            if event.data["sold"] == sold && event.data["remaining"] == remaining {
                return event;
            }
            assert!(Instant::now() < deadline, "still {event:?}");
        }
    }

    /// Receives more; `false` at the end.
    async fn receive(&mut self) -> bool {
        let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await;
        // Neither an event nor a comment in time, or a stream that was cut.
        let Some(chunk) = chunk.unwrap().unwrap() else { return false };
        self.received.push_str(std::str::from_utf8(&chunk).unwrap());
        true
    }

    fn parse(&mut self, block: &str) -> Option<Event> {
        let (mut name, mut id, mut data) = (String::new(), String::new(), None);
        for line in block.lines() {
            match line.split_once(':').unwrap_or((line, "")) {
                ("", _) => self.comments += 1,
                ("event", value) => value.trim_start().clone_into(&mut name),
                ("id", value) => value.trim_start().clone_into(&mut id),
                ("data", value) => data = Some(serde_json::from_str(value).unwrap()),
                ("retry", value) => self.retry = Some(value.trim_start().parse().unwrap()),
                other => panic!("{other:?}"),
            }
        }
        data.map(|data| Event { name, id, data })
    }
}
