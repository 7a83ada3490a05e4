//! All replicas: which of them answers a read, and when the primary answers instead.

use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use prometheus::Registry;
use secrecy::ExposeSecret;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::metrics::{Fallback, ReplicaMetrics};
use super::positions::Positions;
use super::primary::Primary;
use super::replayed::Run;
use super::replica::{Replica, Watched};
use super::state::ReplicaState;
use crate::application::ports::PortError;
use crate::config::DatabaseConfig;
use crate::infrastructure::persistence::pool::connection::name_of;
use crate::infrastructure::persistence::pool::database::Database;

/// Longest time between two examinations of a replica. One that lags by nearly the limit is examined more often than that.
const MAX_INTERVAL: Duration = Duration::from_millis(250);
/// Shortest time between them.
const MIN_INTERVAL: Duration = Duration::from_millis(20);
/// Examinations within the limit of lag: what a replica had at the last one is as old as the time since, and must still be recent.
const EXAMINATIONS: u32 = 4;
/// Maximum time of the first examination of all replicas, which the start waits for.
const FIRST_EXAMINATION: Duration = Duration::from_secs(1);
/// A reader who must see everything acknowledged waits this long for a replica to have it.
const CATCH_UP: Duration = Duration::from_millis(100);
/// Pause between two questions how far the replica is.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(3);

/// The replicas cannot be used as they are configured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidReplicas {
    /// A URL.
    #[error("database.replicas: number {0} is not a PostgreSQL URL: {1}")]
    Url(usize, #[source] sqlx::Error),
    /// Two URLs.
    #[error("database.replicas names {0} twice")]
    Twice(String),
    /// The metrics.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

/// What a reader must see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// What was acknowledged before the limit of lag.
    Recent,
    /// Everything that any instance had acknowledged when the read began.
    Acknowledged,
}

/// An adapter on the primary, and one on each replica.
pub(crate) struct OnEach<A> {
    primary: A,
    replicas: Vec<A>,
}

impl<P: ?Sized> OnEach<Arc<P>> {
    /// The adapter on the primary.
    pub(crate) fn primary(&self) -> &P {
        &self.primary
    }
}

/// All replicas; possibly none.
pub(crate) struct Replicas {
    primary: Arc<Primary>,
    all: Vec<Replica>,
    metrics: ReplicaMetrics,
    interval: Duration,
    first_examination: OnceCell<()>,
}

impl Replicas {
    /// Prepares the replicas, without a connection: the service starts without them too.
    pub(crate) fn new(
        config: &DatabaseConfig,
        database: &Database,
        registry: &Registry,
    ) -> Result<Self, InvalidReplicas> {
        let metrics = ReplicaMetrics::register(registry)?;
        let positions = Positions::reaching(config.replica_max_lag);
        // With a connection of its own, so that its answers do not wait behind buyers.
        let primary = Arc::new(Primary::new(database.separate(1), positions));
        let mut all: Vec<Replica> = Vec::new();
        for (number, url) in (1..).zip(&config.replicas) {
            let options = options(url.expose_secret(), config)
                .map_err(|error| InvalidReplicas::Url(number, error))?;
            let name = name_of(&options);
            if all.iter().any(|known| known.watched.name == name) {
                return Err(InvalidReplicas::Twice(name));
            }
            let gauges = metrics.of(&name);
            all.push(Replica::new(config, (name, options), &primary, gauges)?);
        }
        let interval = (config.replica_max_lag / EXAMINATIONS).clamp(MIN_INTERVAL, MAX_INTERVAL);
        let watched: Vec<Arc<Watched>> = all.iter().map(|one| Arc::clone(&one.watched)).collect();
        if !watched.is_empty() {
            let forgetful = Arc::clone(&primary);
            database.history().when_changed(move || {
                forgetful.positions.clear();
                for replica in &watched {
                    replica.forget();
                }
            });
        }
        Ok(Self { primary, all, metrics, interval, first_examination: OnceCell::new() })
    }

    /// What is known of each.
    pub(crate) fn watched(&self) -> impl Iterator<Item = &Arc<Watched>> {
        self.all.iter().map(|replica| &replica.watched)
    }

    /// An adapter for the primary and one for each replica.
    pub(crate) fn on_each<A>(&self, primary: A, adapter: impl Fn(Database) -> A) -> OnEach<A> {
        let replicas = self.all.iter().map(|replica| adapter(replica.database.clone())).collect();
        OnEach { primary, replicas }
    }

    /// Examines all of them for the first time. Without this the first read does it.
    pub(crate) async fn begin(&self) {
        if !self.all.is_empty() {
            self.first_examination.get_or_init(|| self.examine_all()).await;
        }
    }

    async fn examine_all(&self) {
        let first = async {
            let _ = self.primary.position().await;
            join_all(self.watched().map(|replica| replica.examine())).await;
        };
        // The rest goes on in the background.
        let _ = tokio::time::timeout(FIRST_EXAMINATION, first).await;
    }

    /// Examines them at intervals, until `stop`.
    pub(crate) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        if self.all.is_empty() {
            return;
        }
        let primary = async {
            loop {
                // While the primary is away all replicas grow old; its own circuit reports that.
                let _ = self.primary.position().await;
                tokio::time::sleep(self.interval).await;
            }
        };
        let replicas = self.all.iter().map(|replica| async {
            loop {
                replica.watched.examine().await;
                replica.observe();
                tokio::select! {
                    () = tokio::time::sleep(self.interval) => {}
                    () = replica.watched.doubted() => {}
                }
            }
        });
        let forever = join(primary, join_all(replicas));
        tokio::select! {
            () = stop.cancelled() => {}
            _ = forever => {}
        }
    }

    /// Closes all connections.
    pub(crate) async fn close(&self) {
        for replica in &self.all {
            replica.watched.close().await;
            replica.database.close().await;
        }
        self.primary.database.close().await;
    }

    /// Runs a read that may come from a replica: on one of those that may be read from, and if there is none or it fails, on the
    /// primary.
    pub(crate) async fn read<'a, A, T, R>(
        &self,
        adapters: &'a OnEach<A>,
        freshness: Freshness,
        read: impl Fn(&'a A) -> R,
    ) -> Result<T, PortError>
    where
        R: Future<Output = Result<T, PortError>>,
    {
        match self.read_from_replica(adapters, freshness, &read).await {
            Ok(Some(found)) => {
                self.metrics.read_from_replica();
                return Ok(found);
            }
            Ok(None) => {}
            Err(why) => self.metrics.fell_back(why),
        }
        self.metrics.read_from_primary();
        read(&adapters.primary).await
    }

    /// `None` without replicas.
    async fn read_from_replica<'a, A, T, R>(
        &self,
        adapters: &'a OnEach<A>,
        freshness: Freshness,
        read: impl Fn(&'a A) -> R,
    ) -> Result<Option<T>, Fallback>
    where
        R: Future<Output = Result<T, PortError>>,
    {
        if self.all.is_empty() {
            return Ok(None);
        }
        self.first_examination.get_or_init(|| self.examine_all()).await;
        let (watched, adapter, run) =
            self.choose(adapters, freshness).ok_or(Fallback::NoneFresh)?;
        let run = match freshness {
            Freshness::Recent => run,
            Freshness::Acknowledged => self.catches_up(watched).await?,
        };
        tokio::select! {
            biased;
            found = read(adapter) => match found {
                Ok(found) if watched.replayed().run == run => Ok(Some(found)),
                // It was found to have restarted, and may have answered without what it had before.
                Ok(_) => Err(Fallback::Failed),
                Err(error) => {
                    tracing::debug!(%error, replica = watched.name, "a read failed on a replica");
                    watched.doubt();
                    Err(Fallback::Failed)
                }
            },
            () = watched.is_lost() => Err(Fallback::Failed),
        }
    }

    /// One of those that may be read from, by chance, and the run in which it may be.
    fn choose<'a, 'b, A>(
        &'a self,
        adapters: &'b OnEach<A>,
        freshness: Freshness,
    ) -> Option<(&'a Watched, &'b A, Run)> {
        let all = self.watched().zip(&adapters.replicas);
        let usable: Vec<_> = all
            .filter_map(|(watched, adapter)| {
                let run = watched.replayed().run;
                let is_usable = match freshness {
                    Freshness::Recent => watched.is_fresh(),
                    // How far it must be is asked then.
                    Freshness::Acknowledged => watched.state() == ReplicaState::Up,
                };
                is_usable.then_some((&**watched, adapter, run))
            })
            .collect();
        let chance = usize::try_from(RandomState::new().hash_one(()) >> 1).unwrap_or(0);
        usable.get(chance.checked_rem(usable.len())?).copied()
    }

    /// Waits until the replica has everything that was acknowledged before this was called, at whichever instance. Returns the run in
    /// which it has.
    async fn catches_up(&self, watched: &Watched) -> Result<Run, Fallback> {
        let caught_up = async {
            let acknowledged = self.primary.position().await.map_err(|_| Fallback::Failed)?;
            loop {
                let known = watched.replayed();
                if known.position >= acknowledged {
                    return Ok(known.run);
                }
                watched.examine().await;
                if !watched.lets_reads_finish() {
                    return Err(Fallback::Failed);
                }
                if watched.replayed().position < acknowledged {
                    tokio::time::sleep(CATCH_UP_PAUSE).await;
                }
            }
        };
        tokio::time::timeout(CATCH_UP, caught_up).await.unwrap_or(Err(Fallback::Behind))
    }
}

fn options(url: &str, config: &DatabaseConfig) -> Result<PgConnectOptions, sqlx::Error> {
    let options = PgConnectOptions::from_str(url)?.application_name("flash-sale");
    let names_authority = url.contains("sslrootcert=") || url.contains("ssl-root-cert=");
    Ok(match &config.parts.ssl_root_cert {
        Some(authority) if !names_authority => options.ssl_root_cert(authority),
        _ => options,
    })
}
