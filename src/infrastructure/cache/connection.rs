//! Connections to Redis, and the circuit that keeps callers away from it while it is gone.
//!
//! The first failure that speaks of the connection opens the circuit: from then on every call fails at once, without a
//! wait, until the probe gets an answer. One atomic flag, because it stands in every request's way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{Client, ConnectionInfo, IntoConnectionInfo, RedisError};
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

use super::keys::Keys;
use super::metrics::RedisMetrics;
use super::scripts::Scripts;
use crate::application::ports::PortError;
use crate::config::RedisConfig;

/// Everything that adapters of Redis share.
#[derive(Clone)]
pub(crate) struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    /// One connection for everybody: it pipelines by itself.
    manager: ConnectionManager,
    client: Client,
    is_up: AtomicBool,
    metrics: RedisMetrics,
    probe_interval: Duration,
    keys: Keys,
    scripts: Scripts,
}

/// The configuration names no Redis.
#[derive(Debug, thiserror::Error)]
#[error("redis.url is not a Redis URL: {0}")]
pub(crate) struct InvalidRedis(String);

impl Redis {
    /// Prepares connections without making one: the service starts without Redis too.
    pub(crate) fn new(config: &RedisConfig, metrics: RedisMetrics) -> Result<Self, InvalidRedis> {
        // The driver's message may repeat the URL, which may hold a password.
        let invalid = |error: RedisError| InvalidRedis(error.category().to_owned());
        let info: ConnectionInfo =
            config.url.expose_secret().into_connection_info().map_err(invalid)?;
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = Client::open(info.clone()).map_err(invalid)?;
        let manager_config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(config.connect_timeout))
            .set_response_timeout(Some(config.response_timeout))
            .set_number_of_retries(1);
        let manager = client.get_connection_manager_lazy(manager_config).map_err(invalid)?;
        metrics.set(true);
        Ok(Self {
            shared: Arc::new(Shared {
                manager,
                client,
                is_up: AtomicBool::new(true),
                metrics,
                probe_interval: config.probe_interval,
                keys: Keys::new(&config.key_prefix, config.keep_after_sale),
                scripts: Scripts::new(),
            }),
        })
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.shared.keys
    }

    pub(super) fn scripts(&self) -> &Scripts {
        &self.shared.scripts
    }

    pub(super) fn client(&self) -> &Client {
        &self.shared.client
    }

    pub(super) fn manager(&self) -> ConnectionManager {
        self.shared.manager.clone()
    }

    /// Whether Redis answered last.
    pub(crate) fn is_up(&self) -> bool {
        self.shared.is_up.load(Ordering::Relaxed)
    }

    /// Runs a call, unless Redis is known to be gone.
    pub(super) async fn call<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T, RedisError>> + Send,
    ) -> Result<T, PortError> {
        if !self.is_up() {
            return Err(PortError::Unavailable { what, source: "redis is away".into() });
        }
        call.await.map_err(|error| {
            let is_gone = error.is_io_error()
                || error.is_timeout()
                || error.is_connection_dropped()
                || error.is_connection_refusal()
                || error.is_unrecoverable_error();
            if is_gone {
                self.set_up(false);
            }
            PortError::Unavailable { what, source: Box::new(error) }
        })
    }

    /// Asks Redis again and again whether it is there, until `stop`.
    pub(crate) async fn probe(self, stop: CancellationToken) {
        loop {
            let mut manager = self.manager();
            let ping = redis::cmd("PING").query_async::<String>(&mut manager).await;
            self.set_up(ping.is_ok());
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.shared.probe_interval) => {}
            }
        }
    }

    fn set_up(&self, is_up: bool) {
        let was_up = self.shared.is_up.swap(is_up, Ordering::Relaxed);
        self.shared.metrics.set(is_up);
        match (was_up, is_up) {
            (true, false) => tracing::warn!("redis is away: going on with postgresql alone"),
            (false, true) => tracing::info!("redis is back"),
            (true, true) | (false, false) => {}
        }
    }
}
