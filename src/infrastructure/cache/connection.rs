//! Connections to Redis, behind a circuit that keeps callers away while Redis is gone.
//!
//! - One multiplexed connection serves all requests of buyers: it pipelines their calls by itself.
//! - A small pool serves background work, whose large commands and replies would delay the calls behind them on the
//!   shared connection. Every use of the pool costs one more round trip, because it checks a connection before it
//!   lends it.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use deadpool_redis::{
    BuildError, Connection, Manager, Pool, PoolError, Runtime, TimeoutType, Timeouts,
};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, FromRedisValue, IntoConnectionInfo, RedisError,
    Script, ScriptInvocation, TlsCertificates,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::ExposeSecret;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::keys::Keys;
use super::metrics::RedisMetrics;
use super::reason;
use super::rights::{Rights, is_refusal};
use super::script::script;
use crate::application::ports::PortError;
use crate::config::RedisConfig;
use crate::infrastructure::circuit::{Circuit, CircuitMetrics, Reason};

static PROBE: LazyLock<Script> = script!("probe");

/// The key that a probe writes expires after this time.
const PROBE_TTL_MS: u64 = 10_000;
/// No filter was published later than this.
const NEVER: i64 = i64::MAX;
/// Maximum number of pooled connections: background tasks seldom run at the same time.
const POOL_SIZE: usize = 4;

/// What all adapters of Redis share.
#[derive(Clone)]
pub(crate) struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    /// Replaced when a probe fails: a connection to a server that has become a replica, for example, would never break.
    manager: RwLock<ConnectionManager>,
    manager_config: ConnectionManagerConfig,
    pool: Pool,
    client: Client,
    /// The server's time, in ms since 1970, at which the connection was known to work; [`NEVER`] since it failed.
    connected_at: AtomicI64,
    cold: Notify,
    circuit: Circuit,
    rights: Rights,
    metrics: RedisMetrics,
    keys: Keys,
}

/// The configuration does not describe a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidRedis {
    /// The URL.
    #[error("redis.url is not a Redis URL: {0}")]
    Url(String),
    /// The file of `redis.ssl_root_cert`.
    #[error("redis.ssl_root_cert: {0} contains no certificate")]
    NoCertificate(String),
    /// The pool.
    #[error("the pool of Redis connections: {0}")]
    Pool(#[from] BuildError),
}

impl Redis {
    /// Prepares connections without opening one: the service starts without Redis too.
    pub(crate) fn new(
        config: &RedisConfig,
        metrics: RedisMetrics,
        circuits: &CircuitMetrics,
    ) -> Result<Self, InvalidRedis> {
        // The driver's message may repeat the URL, which may contain a password.
        let invalid = |error: RedisError| InvalidRedis::Url(error.category().to_owned());
        let info: ConnectionInfo =
            config.url.expose_secret().into_connection_info().map_err(invalid)?;
        // The library's name is of no use to anybody, and naming it needs a right of its own.
        let settings = info.redis_settings().clone().set_skip_set_lib_name();
        let info = info
            .set_tcp_settings(TcpSettings::default().set_nodelay(true))
            .set_redis_settings(settings);
        let client = match &config.ssl_root_cert {
            Some(file) => Client::build_with_tls(info, trusting(file)?),
            None => Client::open(info),
        };
        let client = client.map_err(invalid)?;
        // With the certificates, if any.
        let info = client.get_connection_info().clone();
        let manager_config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(config.connect_timeout))
            .set_response_timeout(Some(config.response_timeout))
            .set_number_of_retries(1);
        let manager = client
            .get_connection_manager_lazy(manager_config.clone())
            .map(RwLock::new)
            .map_err(invalid)?;
        let pool = pool(info, config, invalid)?;
        metrics.set(true);
        Ok(Self {
            shared: Arc::new(Shared {
                manager,
                manager_config,
                pool,
                client,
                connected_at: AtomicI64::new(NEVER),
                cold: Notify::new(),
                circuit: Circuit::new("redis", &config.circuit, circuits),
                rights: Rights::default(),
                metrics,
                keys: Keys::new(&config.key_prefix, config.keep_after_sale),
            }),
        })
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.shared.keys
    }

    pub(crate) fn client(&self) -> &Client {
        &self.shared.client
    }

    /// The shared connection.
    pub(crate) fn manager(&self) -> ConnectionManager {
        self.shared.manager.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the circuit lets callers through.
    pub(crate) fn is_up(&self) -> bool {
        self.shared.circuit.is_closed()
    }

    /// The server's time, in ms since 1970, since which the connection works. What was written earlier may have been
    /// written to another server.
    pub(crate) fn connected_at(&self) -> i64 {
        self.shared.connected_at.load(Ordering::Relaxed)
    }

    /// Reports that a sale has no valid filter: it is rebuilt at once.
    pub(crate) fn report_cold(&self) {
        self.shared.cold.notify_one();
    }

    /// Waits for [`Self::report_cold`].
    pub(crate) async fn cold_reported(&self) {
        self.shared.cold.notified().await;
    }

    /// `closed`, `open` or `half_open`, with the reason.
    pub(crate) fn circuit_state(&self) -> String {
        self.shared.circuit.describe()
    }

    /// The rights that Redis refuses, with the rules that grant them; `None` if it refuses none.
    pub(crate) fn missing_rights(&self) -> Option<String> {
        self.shared.rights.missing()
    }

    /// The error of a call that the open circuit prevents.
    pub(crate) fn unavailable(what: &'static str) -> PortError {
        PortError::Unavailable { what, source: "redis is unavailable".into() }
    }

    /// Runs a script on the shared connection, unless the circuit is open.
    pub(crate) async fn invoke<T: FromRedisValue + Send + Sync>(
        &self,
        what: &'static str,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, PortError> {
        let mut manager = self.manager();
        self.call(what, call.invoke_async(&mut manager)).await
    }

    /// Awaits a call on the shared connection, unless the circuit is open.
    pub(crate) async fn call<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T, RedisError>> + Send,
    ) -> Result<T, PortError> {
        if !self.is_up() {
            return Err(Self::unavailable(what));
        }
        call.await.map_err(|error| self.refused_or_failed(what, error))
    }

    /// Runs a script on a connection from the pool, unless the circuit is open.
    pub(crate) async fn invoke_pooled<T: FromRedisValue + Send + Sync>(
        &self,
        what: &'static str,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, PortError> {
        self.call_pooled(what, async |connection| call.invoke_async(connection).await).await
    }

    /// Runs `work` on a connection from the pool, unless the circuit is open.
    ///
    /// After an error the connection is closed: a master that has become a replica answers the pool's check, so only
    /// its errors show that the connection is of no use.
    pub(crate) async fn call_pooled<T>(
        &self,
        what: &'static str,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, PortError> {
        if !self.is_up() {
            return Err(Self::unavailable(what));
        }
        let mut connection = match self.shared.pool.get().await {
            Ok(connection) => connection,
            // That the pool is too small does not show that Redis fails.
            Err(PoolError::Timeout(TimeoutType::Wait)) => {
                return Err(PortError::Unavailable { what, source: "the pool is busy".into() });
            }
            Err(error) => {
                self.failed(reason::of_pool(&error));
                return Err(PortError::Unavailable { what, source: Box::new(error) });
            }
        };
        match work(&mut connection).await {
            Ok(value) => Ok(value),
            Err(error) => {
                if !is_refusal(&error) {
                    drop(Connection::take(connection));
                }
                Err(self.refused_or_failed(what, error))
            }
        }
    }

    fn refused_or_failed(&self, what: &'static str, error: RedisError) -> PortError {
        let reason = reason::of(&error);
        tracing::debug!(what, %reason, "a call to redis failed");
        if !self.note_refusal(&error) {
            self.failed(reason);
        }
        PortError::Unavailable { what, source: Box::new(error) }
    }

    /// Whether Redis only refuses a right; then that is remembered.
    pub(crate) fn note_refusal(&self, error: &RedisError) -> bool {
        let is_refusal = is_refusal(error);
        if is_refusal && self.shared.rights.refused(error, &self.shared.keys) {
            // The next probe finds out what else is refused.
            self.shared.circuit.doubt();
        }
        is_refusal
    }

    /// Reports the failure to the circuit. Any error counts but the refusal of a right, such as that of a full server, of a
    /// replica, or of a password that has changed: callers are better off without Redis then.
    fn failed(&self, reason: Reason) {
        self.shared.connected_at.store(NEVER, Ordering::Relaxed);
        self.shared.circuit.failed(reason);
        if !self.is_up() {
            self.shared.metrics.set(false);
        }
    }

    /// Probes Redis at intervals until `stop`.
    pub(crate) async fn probe(self, stop: CancellationToken) {
        let redis = self.clone();
        self.shared
            .circuit
            .watch(stop, move || {
                let redis = redis.clone();
                async move { redis.accepts_writes().await }
            })
            .await;
    }

    /// Whether Redis answers and takes writes, or refuses a right, which is no reason to go on without it.
    async fn accepts_writes(&self) -> Result<(), Reason> {
        let mut manager = self.manager();
        let mut call = PROBE.prepare_invoke();
        call.key(self.keys().probe()).arg(PROBE_TTL_MS);
        let answer: Result<i64, RedisError> = call.invoke_async(&mut manager).await;
        let connected_at = &self.shared.connected_at;
        let probed = match answer {
            Ok(now) => {
                let _ =
                    connected_at.compare_exchange(NEVER, now, Ordering::Relaxed, Ordering::Relaxed);
                Ok(())
            }
            Err(error) if self.note_refusal(&error) => Ok(()),
            Err(error) => {
                connected_at.store(NEVER, Ordering::Relaxed);
                self.reconnect();
                let reason = reason::of(&error);
                tracing::debug!(%reason, "the probe of redis failed");
                Err(reason)
            }
        };
        if probed.is_ok() {
            let missing = self.shared.rights.check(&mut manager, self.keys()).await;
            self.shared.metrics.set_missing_rights(missing);
        }
        self.shared.metrics.set(probed.is_ok());
        probed
    }

    /// Replaces the shared connection and closes the idle ones of the pool.
    fn reconnect(&self) {
        self.shared.pool.retain(|_, _| false);
        let config = self.shared.manager_config.clone();
        // Opens nothing yet, so it cannot fail: the same settings were accepted at the start.
        if let Ok(manager) = self.shared.client.get_connection_manager_lazy(config) {
            *self.shared.manager.write().unwrap_or_else(PoisonError::into_inner) = manager;
        }
    }
}

/// Trusts the authorities of this file, and no others.
fn trusting(file: &Path) -> Result<TlsCertificates, InvalidRedis> {
    // The configuration has opened it.
    let pem = std::fs::read(file).unwrap_or_default();
    if !CertificateDer::pem_slice_iter(&pem).any(|certificate| certificate.is_ok()) {
        return Err(InvalidRedis::NoCertificate(file.display().to_string()));
    }
    Ok(TlsCertificates { client_tls: None, root_cert: Some(pem) })
}

fn pool(
    info: ConnectionInfo,
    config: &RedisConfig,
    invalid: impl Fn(RedisError) -> InvalidRedis,
) -> Result<Pool, InvalidRedis> {
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(config.connect_timeout))
        .set_response_timeout(Some(config.response_timeout));
    let manager = Manager::new_with_config(info, settings).map_err(invalid)?;
    let timeouts = Timeouts {
        wait: Some(config.connect_timeout),
        create: Some(config.connect_timeout),
        recycle: Some(config.response_timeout),
    };
    let builder = Pool::builder(manager).max_size(POOL_SIZE).timeouts(timeouts);
    Ok(builder.runtime(Runtime::Tokio1).build()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::servers::RedisWorld;

    async fn run(redis: &Redis, command: &[&str]) -> Result<i64, PortError> {
        let run = async |connection: &mut Connection| {
            redis::cmd(command[0]).arg(&command[1..]).query_async(connection).await
        };
        redis.call_pooled("a test", run).await
    }

    #[tokio::test]
    async fn a_pooled_connection_is_used_again() {
        let (redis, _) = RedisWorld::open().connect();

        let first = run(&redis, &["CLIENT", "ID"]).await.unwrap();

        assert_eq!(run(&redis, &["CLIENT", "ID"]).await.unwrap(), first);
    }

    #[tokio::test]
    async fn after_an_error_the_pooled_connection_is_closed_and_the_circuit_open() {
        let (redis, _) = RedisWorld::open().connect();
        run(&redis, &["CLIENT", "ID"]).await.unwrap();

        run(&redis, &["NO-SUCH-COMMAND"]).await.unwrap_err();

        assert_eq!((redis.shared.pool.status().size, redis.is_up()), (0, false));
    }

    #[tokio::test]
    async fn when_all_pooled_connections_are_in_use_a_call_fails_and_the_circuit_stays_closed() {
        let (redis, _) = RedisWorld::open().connect();
        let mut in_use = Vec::new();
        for _ in 0..POOL_SIZE {
            in_use.push(redis.shared.pool.get().await.unwrap());
        }
        tokio::time::pause();

        run(&redis, &["CLIENT", "ID"]).await.unwrap_err();

        assert!(redis.is_up());
    }

    #[tokio::test]
    async fn a_failed_probe_closes_the_idle_pooled_connections() {
        let (redis, _) = RedisWorld::open().connect();
        run(&redis, &["CLIENT", "ID"]).await.unwrap();

        redis.reconnect();

        assert_eq!(redis.shared.pool.status().size, 0);
    }
}
