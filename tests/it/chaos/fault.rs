//! The faults: how each begins and ends.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redis::AsyncCommands;
use sqlx::{Postgres, Transaction};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::arena::{Arena, INSTANCES, Station};
use super::history::History;
use super::neighbours::{Bazaar, Installation};
use crate::harness::database::address_of;
use crate::harness::servers::{PrivateServers, is_nats_installed, is_pooler_installed};
use crate::harness::standby::Standby;
use crate::harness::trouble::{
    CUT_SESSIONS, NO_ROOM, NO_STANDBY, OTHER_HISTORY, READ_ONLY, REDIS_REFUSES, ROOM, STANDBY_AWAY,
    WRITABLE, all_keys, put_back, send_to_redis,
};
use crate::harness::{Dice, eventually, wrong_clock};
use crate::proxy::{Way, Ways};

/// Delay of a slow network, in each direction.
const DELAY: Duration = Duration::from_millis(40);
/// Pauses Redis for two seconds.
const PAUSE: &str = "CLIENT PAUSE 2000 ALL";
/// Number of connections that send half of a request.
const HALF_OPEN: usize = 64;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Redis is killed, and restarts empty.
    RedisKilled,
    /// Redis is killed, and restarts without the last writes, as a replica would.
    RedisFailover,
    /// `FLUSHALL`.
    RedisFlushed,
    /// `SCRIPT FLUSH`.
    ScriptsFlushed,
    /// Redis stops responding for a while.
    RedisPaused,
    /// Redis has no memory left for writes.
    RedisFull,
    /// Redis is a replica that refuses writes.
    RedisReplica,
    /// The password of Redis changes.
    RedisPassword,
    /// Every item is announced as sold out, by a forged event.
    NewsForged,
    /// An orderly restart.
    PostgresRestarted,
    /// All of its processes are killed.
    PostgresCrashed,
    /// One of its sessions is killed, after which it recovers as from a crash.
    BackendKilled,
    /// All sessions are terminated, some in the middle of a commit.
    SessionsCut,
    /// Another transaction locks every item, until the pool is exhausted.
    ItemsHeld,
    /// Its disk is full.
    PostgresFull,
    /// It refuses writes, as during a failover.
    PostgresReadOnly,
    /// Its only synchronous standby is away: no commit ends.
    StandbyAway,
    /// It goes on from another history, which lacks nothing.
    HistoryChanged,
    /// It fails over to a standby that lacks the last commits.
    PostgresFailedOver,
    /// One instance reaches it through a pooler that drops start-up options.
    PostgresPooled,
    /// No instance can reach it.
    PostgresUnreachable,
    /// `SIGKILL` to one instance, which restarts.
    InstanceKilled,
    /// `SIGSTOP` to one instance, for longer than locks and leases last, then `SIGCONT`.
    InstanceStopped,
    /// `SIGTERM` to one instance under load, which restarts.
    InstanceTerminated,
    /// One instance restarts with a clock that is ten minutes off.
    ClockOff,
    /// Clients open connections and send half of a request.
    HalfOpenClients,
    /// One instance's network is slow.
    WaysDelayed,
    /// One instance's network to a server holds everything back.
    WayStalled,
    /// One instance's connections to a server are cut.
    WayCut,
    /// One instance's network to a server loses all bytes in one direction.
    WayLossy,
    /// Another installation sells out on the same Redis.
    OtherInstallation,
    /// Buyers come to 400 more sales.
    ManySales,
    /// NATS is killed, to which events are delivered.
    NatsKilled,
    /// The endpoint of webhooks refuses everything.
    EndpointDead,
    /// `SIGKILL` to the worker that delivers events beside the instances, which restarts.
    WorkerKilled,
    /// `SIGKILL` to the replica that answers lists, which restarts.
    ReplicaLost,
    /// `SIGKILL` to a master of the Redis Cluster, whose replica takes over; it comes back as a replica.
    ClusterMasterLost,
    /// `SIGKILL` to the pooler of all instances, which restarts.
    PoolerRestarted,
}

impl Fault {
    /// What a grown installation has more.
    pub(crate) const OF_GROWTH: [Self; 3] =
        [Self::ReplicaLost, Self::ClusterMasterLost, Self::PoolerRestarted];

    /// All faults of an installation with one PostgreSQL and one Redis.
    pub(crate) const ALL: [Self; 35] = [
        Self::RedisKilled,
        Self::RedisFailover,
        Self::RedisFlushed,
        Self::ScriptsFlushed,
        Self::RedisPaused,
        Self::RedisFull,
        Self::RedisReplica,
        Self::RedisPassword,
        Self::NewsForged,
        Self::PostgresRestarted,
        Self::PostgresCrashed,
        Self::BackendKilled,
        Self::SessionsCut,
        Self::ItemsHeld,
        Self::PostgresFull,
        Self::PostgresReadOnly,
        Self::StandbyAway,
        Self::HistoryChanged,
        Self::PostgresFailedOver,
        Self::PostgresPooled,
        Self::PostgresUnreachable,
        Self::InstanceKilled,
        Self::InstanceStopped,
        Self::InstanceTerminated,
        Self::ClockOff,
        Self::HalfOpenClients,
        Self::WaysDelayed,
        Self::WayStalled,
        Self::WayCut,
        Self::WayLossy,
        Self::OtherInstallation,
        Self::ManySales,
        Self::NatsKilled,
        Self::EndpointDead,
        Self::WorkerKilled,
    ];
}

/// The minimum and maximum duration of faults.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lengths {
    /// Of most faults.
    pub(crate) usual: (Duration, Duration),
    /// Of faults that must outlast every lock, every lease and the clients' timeouts.
    pub(crate) outlasting: (Duration, Duration),
}

impl Lengths {
    fn of(self, fault: Fault) -> (Duration, Duration) {
        match fault {
            Fault::InstanceStopped | Fault::PostgresUnreachable | Fault::WayStalled => {
                self.outlasting
            }
            _ => self.usual,
        }
    }

    fn draw(self, fault: Fault, dice: &mut Dice) -> Duration {
        let (from, to) = self.of(fault);
        let spread = usize::try_from(to.saturating_sub(from).as_millis()).unwrap();
        from + Duration::from_millis(u64::try_from(dice.below(spread + 1)).unwrap())
    }
}

/// A fault with its parameters, drawn from the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Strike {
    /// The fault.
    pub(crate) fault: Fault,
    /// The instance, where it affects one.
    instance: usize,
    /// Whether the server is Redis, where it affects the network to one server.
    is_redis: bool,
    /// One of two directions, or of two ways to be wrong.
    is_there: bool,
    /// Its duration.
    pub(crate) lasts: Duration,
}

/// Every fault once, in an order and with parameters drawn from the seed.
pub(crate) fn schedule(seed: u64, lengths: Lengths) -> Vec<Strike> {
    let mut left = Fault::ALL.to_vec();
    if wrong_clock("+1s").is_none() {
        eprintln!("chaos: libfaketime is not installed, so no clock is off");
        left.retain(|fault| *fault != Fault::ClockOff);
    }
    if !is_pooler_installed() {
        eprintln!("chaos: PgBouncer is not installed, so no instance is behind a pooler");
        left.retain(|fault| *fault != Fault::PostgresPooled);
    }
    if !is_nats_installed() {
        let heard = [Fault::NatsKilled, Fault::EndpointDead, Fault::WorkerKilled];
        left.retain(|fault| !heard.contains(fault));
    }
    schedule_of(left, seed, lengths)
}

/// Each of these faults once.
pub(crate) fn schedule_of(mut left: Vec<Fault>, seed: u64, lengths: Lengths) -> Vec<Strike> {
    let mut dice = Dice::new(seed);
    let mut strikes = Vec::new();
    while !left.is_empty() {
        let fault = left.swap_remove(dice.below(left.len()));
        strikes.push(Strike {
            fault,
            instance: dice.below(INSTANCES),
            is_redis: dice.below(2) == 0,
            is_there: dice.below(2) == 0,
            lasts: lengths.draw(fault, &mut dice),
        });
    }
    strikes
}

/// What must be undone at the end of a fault.
#[derive(Debug, Default)]
pub(crate) struct Injected {
    keys: Vec<(String, i64, Vec<u8>)>,
    held: Option<Transaction<'static, Postgres>>,
    clients: Vec<TcpStream>,
    /// It lacks all commits since this time of the history.
    standby: Option<(Duration, Standby)>,
    pooler: Option<PrivateServers>,
    installation: Option<Installation>,
    bazaar: Option<Bazaar>,
}

impl Injected {
    /// Ends what runs beside the instances.
    async fn end(self, arena: &mut Arena, history: &History) {
        if let Some(held) = self.held {
            held.rollback().await.unwrap();
        }
        if let Some((from, standby)) = self.standby {
            arena.fail_over_to(standby).await;
            history.lost_since(from);
        }
        if let Some(installation) = self.installation {
            installation.leave().await;
        }
        if let Some(bazaar) = self.bazaar {
            bazaar.close(arena).await;
        }
    }
}

impl Strike {
    /// The same fault on another instance, if it would end the first one, whose resources are measured.
    pub(crate) fn sparing_the_first(self) -> Self {
        match self.fault {
            Fault::InstanceKilled | Fault::InstanceTerminated | Fault::ClockOff => {
                Self { instance: self.instance.max(1), ..self }
            }
            _ => self,
        }
    }

    /// Begins it.
    pub(crate) async fn begin(self, arena: &mut Arena, history: &History) -> Injected {
        let mut injected = Injected::default();
        match self.fault {
            Fault::RedisKilled => arena.redis.run("kill-redis"),
            Fault::RedisFailover => {
                injected.keys = all_keys(&mut arena.redis().await).await;
            }
            Fault::RedisFlushed => send_to_redis(&mut arena.redis().await, "FLUSHALL").await,
            Fault::ScriptsFlushed => send_to_redis(&mut arena.redis().await, "SCRIPT FLUSH").await,
            Fault::RedisPaused => send_to_redis(&mut arena.redis().await, PAUSE).await,
            Fault::RedisFull | Fault::RedisReplica | Fault::RedisPassword => {
                let mut redis = arena.redis().await;
                for command in self.refusal().0 {
                    send_to_redis(&mut redis, command).await;
                }
            }
            Fault::NewsForged => forge_news(arena).await,
            Fault::PostgresRestarted => arena.postgres.run("restart-postgres"),
            Fault::PostgresCrashed => arena.postgres.run("kill-postgres"),
            Fault::BackendKilled => kill_backend(arena).await,
            Fault::SessionsCut => arena.run_in_postgres(&[CUT_SESSIONS]).await,
            Fault::ItemsHeld => {
                let mut hold = arena.pool().begin().await.unwrap();
                let lock = "LOCK TABLE item_stock, buyers IN SHARE ROW EXCLUSIVE MODE";
                sqlx::raw_sql(lock).execute(&mut *hold).await.unwrap();
                injected.held = Some(hold);
            }
            Fault::PostgresFull => arena.run_in_postgres(&[NO_ROOM]).await,
            Fault::PostgresReadOnly => arena.run_in_postgres(&READ_ONLY).await,
            Fault::StandbyAway => arena.run_in_postgres(&STANDBY_AWAY).await,
            Fault::HistoryChanged => arena.run_in_postgres(&[OTHER_HISTORY, CUT_SESSIONS]).await,
            Fault::PostgresFailedOver
            | Fault::PostgresPooled
            | Fault::OtherInstallation
            | Fault::ManySales
            | Fault::NatsKilled
            | Fault::EndpointDead
            | Fault::WorkerKilled
            | Fault::ReplicaLost
            | Fault::ClusterMasterLost
            | Fault::PoolerRestarted => return self.begin_beside(arena, history).await,
            Fault::PostgresUnreachable => arena.stall_postgres(true),
            Fault::InstanceKilled => arena.stations[self.instance].end(Signal::SIGKILL).await,
            Fault::InstanceStopped => {
                arena.stations[self.instance].instance.process.signal(Signal::SIGSTOP);
            }
            Fault::InstanceTerminated => arena.stations[self.instance].end(Signal::SIGTERM).await,
            Fault::ClockOff => self.put_clock_off(&mut arena.stations[self.instance]).await,
            Fault::HalfOpenClients => injected.clients = half_open(arena).await,
            Fault::WaysDelayed => {
                let station = &arena.stations[self.instance];
                station.to_postgres.lead(Ways::both(Way::Delayed(DELAY)));
                station.to_redis.lead(Ways::both(Way::Delayed(DELAY)));
            }
            Fault::WayStalled => self.way(arena, Ways::both(Way::Stalled)),
            Fault::WayCut => self.cut(arena),
            Fault::WayLossy => {
                let lossy = if self.is_there {
                    Ways { there: Way::Lossy, back: Way::Clear }
                } else {
                    Ways { there: Way::Clear, back: Way::Lossy }
                };
                self.way(arena, lossy);
            }
        }
        injected
    }

    async fn put_clock_off(self, station: &mut Station) {
        let off = if self.is_there { "+10m" } else { "-10m" };
        station.end(Signal::SIGTERM).await;
        station.start_again(&wrong_clock(off).unwrap()).await;
    }

    /// Begins it, if it is something that runs beside the instances.
    async fn begin_beside(self, arena: &mut Arena, history: &History) -> Injected {
        let mut injected = Injected::default();
        match self.fault {
            Fault::PostgresFailedOver => {
                let from = history.now();
                injected.standby = Some((from, arena.outdated_standby().await));
            }
            Fault::PostgresPooled => {
                let (pooler, url) = arena.postgres.pooler().unwrap();
                arena.stations[self.instance].reach_postgres_at(address_of(&url));
                injected.pooler = Some(pooler);
            }
            Fault::OtherInstallation => {
                injected.installation = Some(Installation::sell_out_beside(arena).await);
            }
            Fault::ManySales => injected.bazaar = Some(Bazaar::open(arena).await),
            Fault::NatsKilled => run_in_nats(arena, "kill-nats"),
            Fault::WorkerKilled => {
                if let Some(listener) = &mut arena.listener {
                    listener.kill_worker().await;
                }
            }
            Fault::EndpointDead => {
                arena.listener.iter().for_each(|listener| listener.endpoint.answer_with(503));
            }
            _ => self.begin_in_growth(arena).await,
        }
        injected
    }

    async fn begin_in_growth(self, arena: &mut Arena) {
        let Some(growth) = &mut arena.growth else { return };
        match self.fault {
            Fault::ReplicaLost => growth.lose_replica(&arena.stations).await,
            Fault::ClusterMasterLost => growth.lose_master(self.instance).await,
            _ => growth.stop_pooler(),
        }
    }

    async fn end_in_growth(self, arena: &mut Arena) {
        let Some(growth) = &mut arena.growth else { return };
        match self.fault {
            Fault::ReplicaLost => growth.return_replica(&arena.stations).await,
            Fault::ClusterMasterLost => growth.return_master(self.instance).await,
            _ => growth.start_pooler(&arena.postgres, &arena.stations),
        }
    }

    /// Ends it and restores everything.
    pub(crate) async fn end(self, arena: &mut Arena, injected: Injected, history: &History) {
        match self.fault {
            Fault::RedisKilled => arena.redis.run("start-redis"),
            Fault::RedisFailover => {
                arena.redis.run("kill-redis");
                arena.redis.run("start-redis");
                put_back(&mut arena.redis().await, &injected.keys).await;
            }
            Fault::RedisFull | Fault::RedisReplica => {
                let mut redis = arena.redis().await;
                for command in self.refusal().1 {
                    send_to_redis(&mut redis, command).await;
                }
            }
            Fault::RedisPassword => {
                let mut redis = arena.redis_with_password("changed").await;
                for command in self.refusal().1 {
                    send_to_redis(&mut redis, command).await;
                }
            }
            Fault::PostgresCrashed => arena.postgres.run("start-postgres"),
            Fault::PostgresFull => arena.run_in_postgres(&[ROOM]).await,
            Fault::PostgresReadOnly => arena.run_in_postgres(&WRITABLE).await,
            Fault::StandbyAway => arena.run_in_postgres(&NO_STANDBY).await,
            Fault::PostgresPooled => {
                // Its end cuts the connections through it.
                drop(injected.pooler);
                arena.stations[self.instance].reach_postgres_at(arena.postgres_address());
            }
            Fault::PostgresUnreachable => arena.stall_postgres(false),
            Fault::InstanceKilled | Fault::InstanceTerminated => {
                arena.stations[self.instance].start_again(&[]).await;
            }
            Fault::InstanceStopped => {
                arena.stations[self.instance].instance.process.signal(Signal::SIGCONT);
            }
            Fault::ClockOff => {
                arena.stations[self.instance].end(Signal::SIGTERM).await;
                arena.stations[self.instance].start_again(&[]).await;
            }
            Fault::ItemsHeld
            | Fault::HalfOpenClients
            | Fault::PostgresFailedOver
            | Fault::OtherInstallation
            | Fault::ManySales => injected.end(arena, history).await,
            Fault::WaysDelayed | Fault::WayStalled | Fault::WayLossy => {
                let station = &arena.stations[self.instance];
                station.to_postgres.lead(Ways::both(Way::Clear));
                station.to_redis.lead(Ways::both(Way::Clear));
            }
            Fault::WayCut => self.cut(arena),
            Fault::NatsKilled
            | Fault::EndpointDead
            | Fault::WorkerKilled
            | Fault::ReplicaLost
            | Fault::ClusterMasterLost
            | Fault::PoolerRestarted => self.end_beside(arena).await,
            Fault::RedisFlushed
            | Fault::ScriptsFlushed
            | Fault::RedisPaused
            | Fault::NewsForged
            | Fault::HistoryChanged
            | Fault::PostgresRestarted
            | Fault::BackendKilled
            | Fault::SessionsCut => {}
        }
    }

    /// Ends it, if it is something that runs beside the instances.
    async fn end_beside(self, arena: &mut Arena) {
        match self.fault {
            Fault::NatsKilled => run_in_nats(arena, "start-nats"),
            Fault::EndpointDead => {
                arena.listener.iter().for_each(|listener| listener.endpoint.answer_with(204));
            }
            Fault::WorkerKilled => {
                let direct = arena.direct.clone();
                arena.listener.iter_mut().for_each(|listener| listener.start_worker(&direct));
            }
            _ => self.end_in_growth(arena).await,
        }
    }

    fn refusal(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self.fault {
            Fault::RedisFull => REDIS_REFUSES[0],
            Fault::RedisReplica => REDIS_REFUSES[1],
            _ => REDIS_REFUSES[2],
        }
    }

    fn way(self, arena: &Arena, ways: Ways) {
        let station = &arena.stations[self.instance];
        let way = if self.is_redis { &station.to_redis } else { &station.to_postgres };
        way.lead(ways);
    }

    fn cut(self, arena: &Arena) {
        let station = &arena.stations[self.instance];
        let way = if self.is_redis { &station.to_redis } else { &station.to_postgres };
        way.cut();
    }
}

/// If there is a listener.
fn run_in_nats(arena: &Arena, verb: &str) {
    if let Some(listener) = &arena.listener {
        listener.nats.run(verb);
    }
}

/// Kills one session: a child process of the private server.
async fn kill_backend(arena: &Arena) {
    let backend = eventually("there is a session", async || {
        let any = "SELECT pid FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid() LIMIT 1";
        sqlx::query_scalar::<_, i32>(any).fetch_optional(arena.pool()).await.ok().flatten()
    });
    kill(Pid::from_raw(backend.await), Signal::SIGKILL).unwrap();
}

async fn half_open(arena: &Arena) -> Vec<TcpStream> {
    let mut clients = Vec::new();
    for number in 0..HALF_OPEN {
        let address = arena.stations[number % INSTANCES].instance.client.address;
        let mut client = TcpStream::connect(address).await.unwrap();
        client
            .write_all(b"POST /checkout?user_id=half&item_id=1 HTTP/1.1\r\nHost: sh")
            .await
            .unwrap();
        clients.push(client);
    }
    clients
}

/// Announces all items of all sales as sold out, in this installation's own name.
async fn forge_news(arena: &Arena) {
    let latest = "SELECT id FROM epochs ORDER BY number DESC LIMIT 1";
    let epoch: i64 = sqlx::query_scalar(latest).fetch_one(arena.pool()).await.unwrap();
    let sales: Vec<(i64, i32)> =
        sqlx::query_as("SELECT id, items FROM sales").fetch_all(arena.pool()).await.unwrap();
    let mut redis = arena.redis().await;
    for (sale, items) in sales {
        let items: Vec<String> = (1..=items).map(|item| item.to_string()).collect();
        let event = format!("{epoch} {sale} {}", items.join(" "));
        let _: i64 = redis.publish(arena.notification_channel(), event).await.unwrap();
    }
}
