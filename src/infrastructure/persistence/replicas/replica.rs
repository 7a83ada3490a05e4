//! One replica: its pool, and what is known of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use sqlx::error::DatabaseError;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::sync::{Mutex, Notify, watch};

use super::examination::{Examined, examine, replayed};
use super::metrics::ReplicaGauges;
use super::primary::Primary;
use super::replayed::{Known, Replayed};
use super::state::ReplicaState;
use crate::config::DatabaseConfig;
use crate::infrastructure::circuit::Reason;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::standby::{MayBeLent, Use};

/// Maximum time of an examination, and of the question before a connection is lent.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// Maximum time of an examination that has to connect first.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A replica that lagged too far is read from again when it lags by less than the limit divided by this: one that lags by about the
/// limit must not change sides all the time.
const RECOVERED: u32 = 2;

/// A replica. It is shared by its pool, the task that examines it, and readers.
pub(crate) struct Replica {
    pub(crate) database: Database,
    pub(crate) watched: Arc<Watched>,
}

/// What is known of a replica.
pub(crate) struct Watched {
    /// Its host and port: no user, no password.
    pub(crate) name: String,
    options: PgConnectOptions,
    primary: Arc<Primary>,
    max_lag: Duration,
    replayed: Arc<Replayed>,
    state: watch::Sender<ReplicaState>,
    /// A reader has seen it fail: the next examination is due now.
    doubts: Notify,
    examination: Mutex<Examination>,
    gauges: ReplicaGauges,
}

/// What was known of it when it was asked, what it is, and the connection that was asked.
type Answer = (Known, Examined, PgConnection);

/// One examination at a time; who waits for it shares the result.
#[derive(Default)]
struct Examination {
    began_at: Option<Instant>,
    /// Stays here when the caller that has begun it gives up: with it the connection would go, and the next caller would log in.
    running: Option<BoxFuture<'static, Result<Answer, sqlx::Error>>>,
    /// Kept between examinations.
    connection: Option<PgConnection>,
}

impl Replica {
    /// A replica that is not examined yet, and has no connection.
    pub(crate) fn new(
        config: &DatabaseConfig,
        (name, options): (String, PgConnectOptions),
        primary: &Arc<Primary>,
        gauges: ReplicaGauges,
    ) -> prometheus::Result<Self> {
        let watched = Arc::new(Watched {
            name,
            options: options.clone(),
            primary: Arc::clone(primary),
            max_lag: config.replica_max_lag,
            replayed: Arc::default(),
            state: watch::Sender::new(ReplicaState::Unknown),
            doubts: Notify::new(),
            examination: Mutex::default(),
            gauges,
        });
        let asked = Arc::clone(&watched);
        let may_be_lent: MayBeLent = Arc::new(move |connection, use_of| {
            let asked = Arc::clone(&asked);
            Box::pin(async move { asked.may_be_lent(connection, use_of).await })
        });
        let database = primary.database.standby(config, options, may_be_lent)?;
        Ok(Self { database, watched })
    }

    /// Updates the gauges.
    pub(crate) fn observe(&self) {
        let (in_use, idle) = self.database.in_use_and_idle();
        self.watched.gauges.connections(in_use, idle);
    }
}

impl Watched {
    /// What is known of it.
    pub(crate) fn state(&self) -> ReplicaState {
        self.state.borrow().clone()
    }

    /// Whether it is a replica, and what it has is recent enough at this moment.
    pub(crate) fn is_fresh(&self) -> bool {
        matches!(*self.state.borrow(), ReplicaState::Up) && self.is_within_the_limit()
    }

    /// How long it lags behind, as far as is known.
    pub(crate) fn lag(&self) -> Option<Duration> {
        self.primary.positions.lag(self.replayed().position, Instant::now())
    }

    /// How far it has replayed, as far as is known.
    pub(crate) fn replayed(&self) -> Known {
        self.replayed.known()
    }

    /// Whether a read that has begun on it may go on.
    pub(crate) fn lets_reads_finish(&self) -> bool {
        self.state.borrow().lets_reads_finish()
    }

    /// Waits until a read that has begun on it is in vain.
    pub(crate) async fn is_lost(&self) {
        let mut state = self.state.subscribe();
        // It cannot fail, because the sender lives as long as `self`.
        let _ = state.wait_for(|state| !state.lets_reads_finish()).await;
    }

    /// Has it examined at once.
    pub(crate) fn doubt(&self) {
        self.doubts.notify_one();
    }

    /// Waits for [`Self::doubt`].
    pub(crate) async fn doubted(&self) {
        self.doubts.notified().await;
    }

    /// Everything that was learnt belongs to another history of the database.
    pub(crate) fn forget(&self) {
        self.note(ReplicaState::OtherHistory);
        self.doubt();
    }

    /// Examines it, and remembers the result; or shares that of an examination that has begun since this was called. A caller may give
    /// up: the next one goes on with what it has begun.
    pub(crate) async fn examine(&self) {
        let arrived_at = Instant::now();
        let mut examination = self.examination.lock().await;
        let Examination { began_at, running, connection } = &mut *examination;
        loop {
            if running.is_none() && began_at.is_some_and(|began_at| began_at >= arrived_at) {
                return;
            }
            let asking = running.get_or_insert_with(|| {
                *began_at = Some(Instant::now());
                let replayed = Arc::clone(&self.replayed);
                Box::pin(examined(connection.take(), self.options.clone(), replayed))
            });
            let result = asking.await;
            *running = None;
            self.note(match result {
                Ok((before, examined, kept)) => {
                    *connection = Some(kept);
                    self.judged(before, &examined)
                }
                Err(error) if is_missing_table(&error) => ReplicaState::Foreign("it has no epochs"),
                Err(error) => ReplicaState::Away(Reason::new(&error.to_string())),
            });
        }
    }

    fn judged(&self, before: Known, examined: &Examined) -> ReplicaState {
        let database = &self.primary.database;
        let Some(server) = database.server() else { return ReplicaState::Unknown };
        if let Some(fault) = examined.fault(server, database.history().id()) {
            return fault;
        }
        self.replayed.record(before, examined.position);
        let now = Instant::now();
        let own = examined.own_lag.filter(|lag| *lag > 0.0).map(Duration::from_secs_f64);
        // The position may be older than all known positions of the primary: then the replica's own clock gives the lag.
        let lag = self.primary.positions.lag(examined.position, now).or(own);
        self.gauges.lag(lag);
        let was_lagging = matches!(*self.state.borrow(), ReplicaState::Lagging);
        let limit = if was_lagging { self.max_lag / RECOVERED } else { self.max_lag };
        if self.age(now).is_some_and(|age| age <= limit) {
            ReplicaState::Up
        } else {
            ReplicaState::Lagging
        }
    }

    /// Asked before a connection to it is lent. A new one may lead to another server than those before it.
    async fn may_be_lent(&self, connection: &mut PgConnection, use_of: Use) -> bool {
        let before = self.replayed();
        let asked = async {
            match use_of {
                Use::First => {
                    examine(connection).await.map(|examined| self.judged(before, &examined))
                }
                Use::Further => replayed(connection).await.map(|(is_standby, position)| {
                    if !is_standby {
                        return ReplicaState::Promoted;
                    }
                    self.replayed.record(before, position);
                    self.state()
                }),
            }
        };
        let Ok(Ok(state)) = tokio::time::timeout(ANSWER_TIMEOUT, asked).await else {
            self.doubt();
            return false;
        };
        if self.replayed().run != before.run {
            // It has restarted, and may lack what its readers have made sure of.
            self.doubt();
            return false;
        }
        let may_be = state.lets_reads_finish();
        if !may_be {
            self.note(state);
        }
        may_be
    }

    /// How old what it has may be at most.
    fn age(&self, now: Instant) -> Option<Duration> {
        Some(now.saturating_duration_since(self.primary.positions.as_of(self.replayed().position)?))
    }

    fn is_within_the_limit(&self) -> bool {
        self.age(Instant::now()).is_some_and(|age| age <= self.max_lag)
    }

    /// Remembers what is known of it, and logs a change once.
    fn note(&self, new: ReplicaState) {
        if !new.lets_reads_finish() {
            // When it is back it may have restarted.
            self.replayed.forget();
            self.gauges.lag(None);
        }
        self.gauges.up(matches!(new, ReplicaState::Up));
        self.state.send_if_modified(|known| {
            if *known == new {
                return false;
            }
            if !known.is_like(&new) {
                self.log(&new);
            }
            *known = new;
            true
        });
    }

    fn log(&self, new: &ReplicaState) {
        let replica = &self.name;
        let lag_ms = self.lag().map(|lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX));
        match new {
            ReplicaState::Unknown => {}
            ReplicaState::Up => tracing::info!(replica, lag_ms, "a replica is read from"),
            ReplicaState::Lagging | ReplicaState::OtherHistory => {
                tracing::warn!(replica, lag_ms, why = %new, "a replica is not read from: other servers answer");
            }
            ReplicaState::Away(_) | ReplicaState::Promoted | ReplicaState::Foreign(_) => {
                tracing::warn!(replica, why = %new, "a replica is not read from: other servers answer");
            }
        }
    }

    /// Closes the examination's connection.
    pub(crate) async fn close(&self) {
        let mut examination = self.examination.lock().await;
        examination.running = None;
        if let Some(connection) = examination.connection.take() {
            let _ = tokio::time::timeout(ANSWER_TIMEOUT, connection.close()).await;
        }
    }
}

/// Asks on the connection that was kept, or a new one.
async fn examined(
    kept: Option<PgConnection>,
    options: PgConnectOptions,
    replayed: Arc<Replayed>,
) -> Result<Answer, sqlx::Error> {
    let before = replayed.known();
    // One that exceeds its time leaves no connection behind.
    if let Some(mut kept) = kept
        && let Ok(Ok(examined)) = tokio::time::timeout(ANSWER_TIMEOUT, examine(&mut kept)).await
    {
        return Ok((before, examined, kept));
    }
    let connected = async {
        let mut connection = options.connect().await?;
        let before = replayed.known();
        let examined = examine(&mut connection).await?;
        Ok((before, examined, connection))
    };
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, connected).await;
    connected.unwrap_or_else(|_| Err(no_answer()))
}

/// `undefined_table`
fn is_missing_table(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(DatabaseError::code).as_deref() == Some("42P01")
}

fn no_answer() -> sqlx::Error {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time").into()
}
