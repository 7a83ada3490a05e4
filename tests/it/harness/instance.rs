//! One running instance of the service.

use std::net::SocketAddr;

use serde_json::Value;

use super::client::Client;
use super::eventually::{eventually, until};
use super::process::Process;

/// One running instance.
#[derive(Debug)]
pub(crate) struct Instance {
    /// Its process.
    pub(crate) process: Process,
    /// A client of `http.port`.
    pub(crate) client: Client,
    /// A client of `monitoring.port`.
    pub(crate) monitor: Client,
}

impl Instance {
    /// Waits until a process has logged its addresses.
    pub(crate) async fn listening(mut process: Process) -> Self {
        let (http, monitoring) = eventually("an instance listens", async || {
            assert!(!process.has_ended(), "an instance ended while it started");
            Some((announced(&process, "http")?, announced(&process, "monitoring")?))
        })
        .await;
        Self { process, client: Client::new(http), monitor: Client::new(monitoring) }
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&self) {
        self.readiness_is(200).await;
    }

    /// Waits until its readiness has this status.
    pub(crate) async fn readiness_is(&self, status: u16) {
        until(&format!("readiness is {status}"), async || {
            self.monitor.status("/readyz").await == Some(status)
        })
        .await;
    }
}

/// The address that an instance has logged for one of its servers.
pub(crate) fn announced(process: &Process, server: &str) -> Option<SocketAddr> {
    let lines = process.stderr.lines();
    let records = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut listening =
        records.filter(|record| record["message"] == "listening" && record["server"] == server);
    listening.next()?["address"].as_str()?.parse().ok()
}
