//! What can strike, and what ends it.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{Postgres, Transaction};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::arena::{Arena, INSTANCES};
use crate::harness::proxy::{Way, Ways};
use crate::harness::trouble::{
    CUT_SESSIONS, NO_ROOM, READ_ONLY, REDIS_REFUSES, ROOM, WRITABLE, all_keys, put_back, tell_redis,
};
use crate::harness::{Dice, eventually};

/// A piece of the network is late by so much.
const DELAY: Duration = Duration::from_millis(40);
/// Redis is paused for so long, in milliseconds.
const PAUSE: &str = "CLIENT PAUSE 2000 ALL";
/// Connections of clients that say half of a request and no more.
const HALF_OPEN: usize = 64;
/// Where distributions keep libfaketime.
const FAKETIME: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
];

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Redis is killed, and comes back empty.
    RedisKilled,
    /// Redis is killed, and comes back without what was written last, as a replica would.
    RedisFailover,
    /// `FLUSHALL`.
    RedisFlushed,
    /// `SCRIPT FLUSH`.
    ScriptsFlushed,
    /// Redis answers nobody for a while.
    RedisPaused,
    /// Redis has no memory for writes.
    RedisFull,
    /// Redis is a replica that takes no writes.
    RedisReplica,
    /// Redis has another password.
    RedisPassword,
    /// An orderly restart.
    PostgresRestarted,
    /// All of its processes are killed.
    PostgresCrashed,
    /// One of its sessions is killed, whereupon it recovers as after a crash.
    BackendKilled,
    /// All sessions are terminated, some in the middle of a commit.
    SessionsCut,
    /// Somebody else holds every item, until the pool is exhausted.
    ItemsHeld,
    /// There is no room for writes.
    PostgresFull,
    /// It takes no writes: a failover in progress.
    PostgresReadOnly,
    /// No instance gets through to it.
    PostgresUnreachable,
    /// `SIGKILL` to one instance, which comes back.
    InstanceKilled,
    /// `SIGSTOP` to one instance, for longer than locks and leases last, then `SIGCONT`.
    InstanceStopped,
    /// `SIGTERM` to one instance under load, which comes back.
    InstanceTerminated,
    /// One instance comes back with a clock that is ten minutes off.
    ClockOff,
    /// Clients that open connections and say half of a request.
    HalfOpenClients,
    /// One instance's ways are slow.
    WaysDelayed,
    /// One instance's way to a server holds everything up.
    WayStalled,
    /// One instance's connections to a server are cut.
    WayCut,
    /// One instance's way to a server loses bytes in one direction.
    WayLossy,
}

impl Fault {
    /// All of them.
    pub(crate) const ALL: [Self; 25] = [
        Self::RedisKilled,
        Self::RedisFailover,
        Self::RedisFlushed,
        Self::ScriptsFlushed,
        Self::RedisPaused,
        Self::RedisFull,
        Self::RedisReplica,
        Self::RedisPassword,
        Self::PostgresRestarted,
        Self::PostgresCrashed,
        Self::BackendKilled,
        Self::SessionsCut,
        Self::ItemsHeld,
        Self::PostgresFull,
        Self::PostgresReadOnly,
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
    ];
}

/// How long faults last, from and to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lengths {
    /// Most of them.
    pub(crate) usual: (Duration, Duration),
    /// Those that have to outlast every lock, every lease and the patience of callers.
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

/// A fault with its particulars, as the seed drew them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Strike {
    /// What.
    pub(crate) fault: Fault,
    /// Whom, where it is one instance.
    instance: usize,
    /// Of the two servers, where it is the way to one.
    is_redis: bool,
    /// Of the two directions, or the two ways to be wrong.
    is_there: bool,
    /// Lasts for so long.
    pub(crate) lasts: Duration,
}

/// Every fault once, in an order and with particulars that the seed decides.
pub(crate) fn schedule(seed: u64, lengths: Lengths) -> Vec<Strike> {
    let mut dice = Dice::new(seed);
    let mut left = Fault::ALL.to_vec();
    if faketime().is_none() {
        eprintln!("chaos: libfaketime is not here, so no clock is off");
        left.retain(|fault| *fault != Fault::ClockOff);
    }
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

/// What has to be ended after a strike.
#[derive(Debug, Default)]
pub(crate) struct Wound {
    keys: Vec<(String, i64, Vec<u8>)>,
    held: Option<Transaction<'static, Postgres>>,
    clients: Vec<TcpStream>,
}

impl Strike {
    /// The same without ending the first instance: whoever looks at what it keeps needs it alive.
    pub(crate) fn sparing_the_first(self) -> Self {
        match self.fault {
            Fault::InstanceKilled | Fault::InstanceTerminated | Fault::ClockOff => {
                Self { instance: self.instance.max(1), ..self }
            }
            _ => self,
        }
    }

    /// It begins.
    pub(crate) async fn begin(self, arena: &mut Arena) -> Wound {
        let mut wound = Wound::default();
        match self.fault {
            Fault::RedisKilled => arena.redis.tell("kill-redis"),
            Fault::RedisFailover => {
                wound.keys = all_keys(&mut arena.redis().await).await;
            }
            Fault::RedisFlushed => tell_redis(&mut arena.redis().await, "FLUSHALL").await,
            Fault::ScriptsFlushed => tell_redis(&mut arena.redis().await, "SCRIPT FLUSH").await,
            Fault::RedisPaused => tell_redis(&mut arena.redis().await, PAUSE).await,
            Fault::RedisFull | Fault::RedisReplica | Fault::RedisPassword => {
                let mut redis = arena.redis().await;
                for words in self.refusal().0 {
                    tell_redis(&mut redis, words).await;
                }
            }
            Fault::PostgresRestarted => arena.postgres.tell("restart-postgres"),
            Fault::PostgresCrashed => arena.postgres.tell("kill-postgres"),
            Fault::BackendKilled => kill_backend(arena).await,
            Fault::SessionsCut => arena.tell_postgres(&[CUT_SESSIONS]).await,
            Fault::ItemsHeld => {
                let mut hold = arena.pool().begin().await.unwrap();
                let lock = "LOCK TABLE item_stock, buyers IN SHARE ROW EXCLUSIVE MODE";
                sqlx::raw_sql(lock).execute(&mut *hold).await.unwrap();
                wound.held = Some(hold);
            }
            Fault::PostgresFull => arena.tell_postgres(&[NO_ROOM]).await,
            Fault::PostgresReadOnly => arena.tell_postgres(&READ_ONLY).await,
            Fault::PostgresUnreachable => arena.part_from_postgres(true),
            Fault::InstanceKilled => arena.stations[self.instance].end(Signal::SIGKILL).await,
            Fault::InstanceStopped => {
                arena.stations[self.instance].instance.process.signal(Signal::SIGSTOP);
            }
            Fault::InstanceTerminated => arena.stations[self.instance].end(Signal::SIGTERM).await,
            Fault::ClockOff => {
                let off = if self.is_there { "+10m" } else { "-10m" };
                let station = &mut arena.stations[self.instance];
                station.end(Signal::SIGTERM).await;
                station.start_again(&wrong_clock(off)).await;
            }
            Fault::HalfOpenClients => wound.clients = half_open(arena).await,
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
        wound
    }

    /// It is over: everything is as before.
    pub(crate) async fn end(self, arena: &mut Arena, wound: Wound) {
        match self.fault {
            Fault::RedisKilled => arena.redis.tell("start-redis"),
            Fault::RedisFailover => {
                arena.redis.tell("kill-redis");
                arena.redis.tell("start-redis");
                put_back(&mut arena.redis().await, &wound.keys).await;
            }
            Fault::RedisFull | Fault::RedisReplica => {
                let mut redis = arena.redis().await;
                for words in self.refusal().1 {
                    tell_redis(&mut redis, words).await;
                }
            }
            Fault::RedisPassword => {
                let changed = arena.redis_with_password("changed");
                let mut redis = changed.get_multiplexed_async_connection().await.unwrap();
                for words in self.refusal().1 {
                    tell_redis(&mut redis, words).await;
                }
            }
            Fault::PostgresCrashed => arena.postgres.tell("start-postgres"),
            Fault::ItemsHeld => {
                if let Some(held) = wound.held {
                    held.rollback().await.unwrap();
                }
            }
            Fault::PostgresFull => arena.tell_postgres(&[ROOM]).await,
            Fault::PostgresReadOnly => arena.tell_postgres(&WRITABLE).await,
            Fault::PostgresUnreachable => arena.part_from_postgres(false),
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
            Fault::HalfOpenClients => drop(wound.clients),
            Fault::WaysDelayed | Fault::WayStalled | Fault::WayLossy => {
                let station = &arena.stations[self.instance];
                station.to_postgres.lead(Ways::both(Way::Clear));
                station.to_redis.lead(Ways::both(Way::Clear));
            }
            Fault::WayCut => self.cut(arena),
            Fault::RedisFlushed
            | Fault::ScriptsFlushed
            | Fault::RedisPaused
            | Fault::PostgresRestarted
            | Fault::BackendKilled
            | Fault::SessionsCut => {}
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

/// One session of the service; its process is a child of the server that is ours.
async fn kill_backend(arena: &Arena) {
    let backend = eventually("there is a session", async || {
        let any = "SELECT pid FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid() LIMIT 1";
        sqlx::query_scalar::<_, i32>(any).fetch_optional(arena.pool()).await.ok().flatten()
    });
    kill(Pid::from_raw(backend.await), Signal::SIGKILL).unwrap();
}

fn faketime() -> Option<&'static str> {
    FAKETIME.into_iter().find(|path| Path::new(path).exists())
}

/// The environment of a process whose wall clock is off; the monotonic clock is left alone.
fn wrong_clock(off: &'static str) -> [(&'static str, &'static str); 3] {
    let library = faketime().unwrap();
    [("LD_PRELOAD", library), ("FAKETIME", off), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")]
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
