//! Calls to Redis, behind a circuit that keeps callers away while Redis is gone.
//!
//! - One multiplexed connection serves all requests of buyers: it pipelines their calls by itself.
//! - A small pool serves background work, whose large commands and replies would delay the calls behind them on the
//!   shared connection. Every use of the pool costs one more round trip, because it checks a connection before it
//!   lends it. In a cluster a second multiplexed connection takes its place.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use deadpool_redis::{PoolError, TimeoutType};
use futures_util::future::join_all;
use opentelemetry::KeyValue;
use redis::aio::PubSub;
use redis::{FromRedisValue, RedisError, Script, ScriptInvocation};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::keys::Keys;
use super::link::{BackgroundConnection, InvalidRedis, Link, NotLent, Servers, SharedConnection};
use super::metrics::RedisMetrics;
use super::reason::{self, is_refusal};
use super::rights::Rights;
use super::script::script;
use crate::application::ports::PortError;
use crate::config::RedisConfig;
use crate::infrastructure::circuit::{Circuit, CircuitMetrics, Reason};
use crate::infrastructure::traces::{Kind, fail, span_with};

static PROBE: LazyLock<Script> = script!("probe");

/// The key that a probe writes expires after this time.
const PROBE_TTL_MS: u64 = 10_000;
/// No filter was published later than this.
const NEVER: i64 = i64::MAX;
/// The code of a call whose keys are on their way to another node of the cluster.
const KEYS_MOVE: &str = "TRYAGAIN";

/// What all adapters of Redis share.
#[derive(Clone)]
pub(crate) struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    servers: Servers,
    /// Replaced when a probe fails, because a connection to a server that has become a replica, for example, would never break; and
    /// when the master is another one.
    link: RwLock<Link>,
    /// Whether no Sentinel answers, while the master that they named last works.
    is_blind: AtomicBool,
    /// Counts the masters.
    moves: watch::Sender<u64>,
    /// The server's time, in ms since 1970, at which the connection was known to work; [`NEVER`] since it failed.
    connected_at: AtomicI64,
    cold: Notify,
    circuit: Circuit,
    rights: Rights,
    metrics: RedisMetrics,
    keys: Keys,
}

impl Redis {
    /// Prepares connections without opening one: the service starts without Redis too.
    pub(crate) fn new(
        config: &RedisConfig,
        metrics: RedisMetrics,
        circuits: &CircuitMetrics,
    ) -> Result<Self, InvalidRedis> {
        let servers = Servers::new(config)?;
        let link = RwLock::new(servers.link()?);
        metrics.set(true);
        Ok(Self {
            shared: Arc::new(Shared {
                servers,
                link,
                is_blind: AtomicBool::new(false),
                moves: watch::Sender::new(0),
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

    /// The shared connection.
    pub(crate) fn manager(&self) -> SharedConnection {
        self.shared.link.read().unwrap_or_else(PoisonError::into_inner).shared.clone()
    }

    fn link(&self) -> Link {
        self.shared.link.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// As `redis.mode` has it.
    pub(crate) fn mode(&self) -> &'static str {
        self.shared.servers.mode()
    }

    /// The master that Sentinels have named.
    pub(crate) fn master(&self) -> Option<String> {
        self.link().master.map(|(host, port)| format!("{host}:{port}"))
    }

    /// A connection for subscriptions; `None` while it is not known where to.
    pub(crate) async fn subscriber(&self) -> Result<Option<PubSub>, RedisError> {
        self.shared.servers.subscriber(&self.link()).await
    }

    /// Changes when another master is connected to.
    pub(crate) fn moves(&self) -> watch::Receiver<u64> {
        self.shared.moves.subscribe()
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
        let mut connection = self.manager();
        self.call(what, call.invoke_async(&mut connection)).await
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
        let call = span_with((what, Kind::Client), describe, async {
            call.await.inspect_err(|_| fail("the call failed"))
        });
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
        work: impl AsyncFnOnce(&mut BackgroundConnection) -> Result<T, RedisError>,
    ) -> Result<T, PortError> {
        if !self.is_up() {
            return Err(Self::unavailable(what));
        }
        let mut connection = match self.lend().await {
            Ok(connection) => connection,
            // That the pool is too small does not show that Redis fails.
            Err(NotLent::Pool(PoolError::Timeout(TimeoutType::Wait))) => {
                return Err(PortError::Unavailable { what, source: "the pool is busy".into() });
            }
            Err(error) => {
                self.failed(reason_of(&error));
                return Err(PortError::Unavailable { what, source: Box::new(error) });
            }
        };
        let call = span_with((what, Kind::Client), describe, async {
            work(&mut connection).await.inspect_err(|_| fail("the call failed"))
        });
        match call.await {
            Ok(value) => Ok(value),
            Err(error) => {
                if !is_refusal(&error) {
                    connection.close();
                }
                Err(self.refused_or_failed(what, error))
            }
        }
    }

    async fn lend(&self) -> Result<BackgroundConnection, NotLent> {
        self.look_up_master().await;
        self.link().lend().await
    }

    /// Looks the master of Sentinels up if none is known yet: a command runs no probe that would have found it. What a command sends on
    /// the shared connection has to be behind this.
    pub(crate) async fn look_up_master(&self) {
        if self.link().is_none() {
            let _ = self.follow().await;
        }
    }

    fn refused_or_failed(&self, what: &'static str, error: RedisError) -> PortError {
        let reason = reason::of(&error);
        tracing::debug!(what, %reason, "a call to redis failed");
        // Where keys move, a call waits for nothing, and the next one finds them.
        if error.code() != Some(KEYS_MOVE) && !self.note_refusal(&error) {
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
        let not_followed = self.follow().await.err();
        let probed = match self.write_probes().await {
            Ok(now) => {
                let connected_at = &self.shared.connected_at;
                let _ =
                    connected_at.compare_exchange(NEVER, now, Ordering::Relaxed, Ordering::Relaxed);
                Ok(())
            }
            Err(error) if self.note_refusal(&error) => Ok(()),
            Err(error) => {
                self.shared.connected_at.store(NEVER, Ordering::Relaxed);
                self.reconnect();
                // Why there is no master says more than that there is none.
                let reason = not_followed.clone().unwrap_or_else(|| reason::of(&error));
                tracing::debug!(%reason, "the probe of redis failed");
                Err(reason)
            }
        };
        if probed.is_ok() {
            self.report_blindness(not_followed);
            let (mut connection, commands) = (self.manager(), self.shared.servers.commands());
            let missing = self.shared.rights.check(&mut connection, self.keys(), commands).await;
            self.shared.metrics.set_missing_rights(missing);
        }
        self.shared.metrics.set(probed.is_ok());
        probed
    }

    /// Logs once that a failover would not be noticed, and once that it would be again.
    fn report_blindness(&self, why: Option<Reason>) {
        let was_blind = self.shared.is_blind.swap(why.is_some(), Ordering::Relaxed);
        match why {
            Some(reason) if !was_blind => {
                tracing::warn!(%reason, "the master is not looked up: the known one is kept");
            }
            None if was_blind => tracing::info!("the master is looked up again"),
            Some(_) | None => {}
        }
    }

    /// Writes a key on the server, or one on each master of a cluster: only together they show that every sale is served. Returns
    /// the server's time, in ms since 1970.
    async fn write_probes(&self) -> Result<i64, RedisError> {
        let keys: Vec<String> = if self.shared.servers.is_cluster() {
            self.keys().probes_of_cluster().collect()
        } else {
            vec![self.keys().probe()]
        };
        let probes = keys.into_iter().map(|key| async move {
            let mut connection = self.manager();
            let mut call = PROBE.prepare_invoke();
            call.key(key).arg(PROBE_TTL_MS);
            call.invoke_async::<i64>(&mut connection).await
        });
        let times = join_all(probes).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(times.into_iter().max().unwrap_or(NEVER))
    }

    /// Connects to the master that the Sentinels name, if it is another one. While they do not answer, the known one is kept.
    async fn follow(&self) -> Result<(), Reason> {
        let known = self.link();
        let is_known_to_work = self.connected_at() != NEVER;
        if let Some(link) = self.shared.servers.moved(&known, is_known_to_work).await? {
            let (before, now) = (address(&known), address(&link));
            tracing::info!(before, now, "the Sentinels name another master");
            // What was written may be missing there.
            self.shared.connected_at.store(NEVER, Ordering::Relaxed);
            self.replace(link);
            self.shared.moves.send_modify(|moves| *moves += 1);
        }
        Ok(())
    }

    /// Replaces the connections.
    fn reconnect(&self) {
        if let Some(link) = self.shared.servers.again(&self.link()) {
            self.replace(link);
        }
    }

    fn replace(&self, link: Link) {
        *self.shared.link.write().unwrap_or_else(PoisonError::into_inner) = link;
    }
}

/// What the span of a call says.
fn describe() -> Vec<KeyValue> {
    vec![KeyValue::new("db.system.name", "redis")]
}

/// Why there is no connection for background work.
fn reason_of(error: &NotLent) -> Reason {
    match error {
        NotLent::Pool(error) => reason::of_pool(error),
        NotLent::NoMaster => Reason::new(&error.to_string()),
    }
}

fn address(link: &Link) -> String {
    link.master.as_ref().map_or("none".to_owned(), |(host, port)| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infrastructure::cache::link::POOL_SIZE;
    use crate::testing::servers::RedisWorld;

    async fn run(redis: &Redis, command: &[&str]) -> Result<i64, PortError> {
        let run = async |connection: &mut BackgroundConnection| {
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

        assert_eq!((redis.link().pooled(), redis.is_up()), (0, false));
    }

    #[tokio::test]
    async fn when_all_pooled_connections_are_in_use_a_call_fails_and_the_circuit_stays_closed() {
        let (redis, _) = RedisWorld::open().connect();
        let mut in_use = Vec::new();
        for _ in 0..POOL_SIZE {
            in_use.push(redis.link().lend().await.unwrap());
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

        assert_eq!(redis.link().pooled(), 0);
    }
}
