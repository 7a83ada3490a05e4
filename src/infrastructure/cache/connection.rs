//! Connections to Redis, behind a circuit that keeps callers away from it while it is gone.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{Client, ConnectionInfo, IntoConnectionInfo, RedisError};
use secrecy::ExposeSecret;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::keys::Keys;
use super::metrics::RedisMetrics;
use super::scripts::Scripts;
use crate::application::ports::PortError;
use crate::config::RedisConfig;
use crate::infrastructure::circuit::{Circuit, CircuitMetrics, InvalidCircuit};

/// What the probe leaves behind expires after this time.
const PROBE_TTL_MS: u64 = 10_000;
/// No filter was published later than this.
const NEVER: i64 = i64::MAX;

/// Everything that adapters of Redis share.
#[derive(Clone)]
pub(crate) struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    /// One connection for everybody: it pipelines by itself. Made anew when a probe fails: one to a server that has become a
    /// replica, say, would last for ever.
    manager: RwLock<ConnectionManager>,
    manager_config: ConnectionManagerConfig,
    client: Client,
    /// The server's time, in ms since 1970, at which the connection was known to stand; [`NEVER`] since it failed.
    connected_at: AtomicI64,
    /// Somebody found the memory cold.
    cold: Notify,
    circuit: Circuit,
    metrics: RedisMetrics,
    keys: Keys,
    scripts: Scripts,
}

/// The configuration makes no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidRedis {
    /// The URL.
    #[error("redis.url is not a Redis URL: {0}")]
    Url(String),
    /// The circuit.
    #[error("redis.circuit: {0}")]
    Circuit(#[from] InvalidCircuit),
}

impl Redis {
    /// Prepares connections without making one: the service starts without Redis too.
    pub(crate) fn new(
        config: &RedisConfig,
        metrics: RedisMetrics,
        circuits: &CircuitMetrics,
    ) -> Result<Self, InvalidRedis> {
        // The driver's message may repeat the URL, which may hold a password.
        let invalid = |error: RedisError| InvalidRedis::Url(error.category().to_owned());
        let info: ConnectionInfo =
            config.url.expose_secret().into_connection_info().map_err(invalid)?;
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = Client::open(info.clone()).map_err(invalid)?;
        let manager_config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(config.connect_timeout))
            .set_response_timeout(Some(config.response_timeout))
            .set_number_of_retries(1);
        let manager = client
            .get_connection_manager_lazy(manager_config.clone())
            .map(RwLock::new)
            .map_err(invalid)?;
        metrics.set(true);
        Ok(Self {
            shared: Arc::new(Shared {
                manager,
                manager_config,
                client,
                connected_at: AtomicI64::new(NEVER),
                cold: Notify::new(),
                circuit: Circuit::new("redis", &config.circuit, circuits)?,
                metrics,
                keys: Keys::new(&config.key_prefix, config.keep_after_sale),
                scripts: Scripts::new(),
            }),
        })
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.shared.keys
    }

    pub(crate) fn scripts(&self) -> &Scripts {
        &self.shared.scripts
    }

    pub(crate) fn client(&self) -> &Client {
        &self.shared.client
    }

    pub(crate) fn manager(&self) -> ConnectionManager {
        self.shared.manager.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether callers may ask.
    pub(crate) fn is_up(&self) -> bool {
        self.shared.circuit.is_closed()
    }

    /// Since when the connection stands, by the server's clock; after that it may be to another server.
    pub(crate) fn connected_at(&self) -> i64 {
        self.shared.connected_at.load(Ordering::Relaxed)
    }

    /// The memory was found cold.
    pub(crate) fn found_cold(&self) {
        self.shared.cold.notify_one();
    }

    /// Waits until somebody finds the memory cold.
    pub(crate) async fn is_cold(&self) {
        self.shared.cold.notified().await;
    }

    /// The circuit's state, in a word.
    pub(crate) fn circuit_state(&self) -> &'static str {
        self.shared.circuit.state_name()
    }

    /// Runs a call, unless Redis is known to be gone.
    pub(crate) async fn call<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T, RedisError>> + Send,
    ) -> Result<T, PortError> {
        if !self.is_up() {
            return Err(PortError::Unavailable { what, source: "redis is away".into() });
        }
        match call.await {
            Ok(value) => Ok(value),
            Err(error) => {
                self.shared.connected_at.store(NEVER, Ordering::Relaxed);
                // Whatever it is, callers are better off without: a full server, a replica, a password that has changed.
                self.shared.circuit.failed().await;
                if !self.is_up() {
                    self.shared.metrics.set(false);
                }
                Err(PortError::Unavailable { what, source: Box::new(error) })
            }
        }
    }

    /// Asks Redis again and again whether it takes what callers bring, until `stop`.
    pub(crate) async fn probe(self, stop: CancellationToken) {
        let redis = self.clone();
        self.shared
            .circuit
            .watch(stop, move || {
                let redis = redis.clone();
                async move { redis.takes().await }
            })
            .await;
    }

    /// Whether it can be written to.
    async fn takes(&self) -> bool {
        let mut manager = self.manager();
        let mut call = self.scripts().probe.prepare_invoke();
        call.key(self.keys().probe()).arg(PROBE_TTL_MS);
        let answer: Result<i64, RedisError> = call.invoke_async(&mut manager).await;
        self.shared.metrics.set(answer.is_ok());
        match &answer {
            Ok(now) => {
                let connected_at = &self.shared.connected_at;
                let _ = connected_at.compare_exchange(
                    NEVER,
                    *now,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
            }
            Err(error) => {
                tracing::debug!(%error, "redis failed its probe");
                self.shared.connected_at.store(NEVER, Ordering::Relaxed);
                self.connect_anew();
            }
        }
        answer.is_ok()
    }

    fn connect_anew(&self) {
        let config = self.shared.manager_config.clone();
        // Nothing is connected yet, so nothing can go wrong that did not at the start.
        if let Ok(manager) = self.shared.client.get_connection_manager_lazy(config) {
            *self.shared.manager.write().unwrap_or_else(PoisonError::into_inner) = manager;
        }
    }
}
