//! How a client behaves on its connection. Most wait for their answer; some go away at any byte, some are slow.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Method;

use super::history::Told;
use crate::harness::client::Client;
use crate::harness::wire::{Wire, request};

/// Who is slow sends and reads so many bytes at a time.
const SIP: usize = 16;
/// And makes so long a pause after each.
const PAUSE: Duration = Duration::from_millis(3);

/// How a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Waits for the answer as long as anybody would.
    Patient,
    /// Goes away after a moment.
    Impatient(Duration),
    /// Goes away after so many bytes of the request.
    SendsPart(usize),
    /// Goes away after so many bytes of the answer.
    ReadsPart(usize),
    /// Sends and reads a little at a time.
    Slow,
}

impl Manner {
    /// Asks; what was told, if it was heard.
    pub(crate) async fn ask(self, door: &Client, path: &str, patience: Duration) -> Option<Told> {
        match self {
            Self::Patient => attempt(door, path, patience).await,
            Self::Impatient(time) => attempt(door, path, time).await,
            Self::SendsPart(bytes) => {
                let all = request("POST", path);
                let part = &all[..bytes.min(all.len())];
                let mut wire = Wire::connect(door.address).await?;
                wire.send(part).await;
                None
            }
            Self::ReadsPart(bytes) => {
                let mut wire = Wire::connect(door.address).await?;
                wire.send(&request("POST", path)).await;
                let reading = wire.hear_part(bytes);
                let _ = tokio::time::timeout(patience, reading).await;
                None
            }
            Self::Slow => {
                let exchange = slowly(door.address, path);
                tokio::time::timeout(patience, exchange).await.ok().flatten()
            }
        }
    }
}

async fn attempt(door: &Client, path: &str, patience: Duration) -> Option<Told> {
    let answer = door.attempt(Method::POST, path, patience).await?;
    Some(Told { status: answer.status, body: answer.body })
}

async fn slowly(address: SocketAddr, path: &str) -> Option<Told> {
    let mut wire = Wire::connect(address).await?;
    for sip in request("POST", path).chunks(SIP) {
        if !wire.send(sip).await {
            return None;
        }
        tokio::time::sleep(PAUSE).await;
    }
    let heard = wire.hear_slowly(SIP, PAUSE).await;
    heard.is_complete().then_some(())?;
    Some(Told { status: heard.status?, body: heard.body })
}
