//! How a client behaves on its connection: most wait for the response, some hang up after any byte, some are slow.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Method;

use super::exchange::Response;
use crate::harness::client::Client;
use crate::harness::wire::{Wire, request};

/// Bytes that a slow client sends and reads at a time.
const PART: usize = 16;
/// Its pause after each part.
const PAUSE: Duration = Duration::from_millis(3);

/// How a client sends a request and reads the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Waits for the response.
    Patient,
    /// Hangs up after this time.
    Impatient(Duration),
    /// Hangs up after this many bytes of the request.
    SendsPart(usize),
    /// Hangs up after this many bytes of the response.
    ReadsPart(usize),
    /// Sends and reads a few bytes at a time.
    Slow,
}

impl Manner {
    /// Sends a request. Returns the response, if it was read within the timeout.
    pub(crate) async fn send(
        self,
        client: &Client,
        path: &str,
        timeout: Duration,
    ) -> Option<Response> {
        match self {
            Self::Patient => attempt(client, path, timeout).await,
            Self::Impatient(time) => attempt(client, path, time).await,
            Self::SendsPart(bytes) => {
                let all = request("POST", path);
                let part = &all[..bytes.min(all.len())];
                let mut wire = Wire::connect(client.address).await?;
                wire.send(part).await;
                None
            }
            Self::ReadsPart(bytes) => {
                let mut wire = Wire::connect(client.address).await?;
                wire.send(&request("POST", path)).await;
                let reading = wire.receive_part(bytes);
                let _ = tokio::time::timeout(timeout, reading).await;
                None
            }
            Self::Slow => {
                let exchange = slowly(client.address, path);
                tokio::time::timeout(timeout, exchange).await.ok().flatten()
            }
        }
    }
}

async fn attempt(client: &Client, path: &str, timeout: Duration) -> Option<Response> {
    let answer = client.attempt(Method::POST, path, timeout).await?;
    Some(Response::new(answer.status, answer.body))
}

async fn slowly(address: SocketAddr, path: &str) -> Option<Response> {
    let mut wire = Wire::connect(address).await?;
    for part in request("POST", path).chunks(PART) {
        if !wire.send(part).await {
            return None;
        }
        tokio::time::sleep(PAUSE).await;
    }
    let received = wire.receive_slowly(PART, PAUSE).await;
    received.is_complete().then_some(())?;
    Some(Response::new(received.status?, received.body))
}
