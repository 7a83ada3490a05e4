//! The servers that the configuration names: one of them is the primary, and each of them may become it.
//!
//! The probe, and the first connection at the start, ask all of them at once. Whichever accepts writes is where the pools connect
//! from then on. So callers never wait for a server that is away: the probe has opened the circuit by then, and closes it only when
//! it has a connection to a primary.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use sqlx::postgres::PgConnectOptions;
use sqlx::{PgConnection, PgPool};

use super::connection::{connect, connect_options, name_of};
use super::error::refused;
use super::setup::ConnectionSetup;
use crate::config::DatabaseConfig;

/// Pause before a server that has refused is asked again, while another one has not answered yet.
const PAUSE: Duration = Duration::from_millis(200);

/// The servers, and the pools that are to connect to the primary among them.
#[derive(Debug)]
pub(crate) struct Hosts {
    /// In the configuration's order; at least one.
    all: Vec<PgConnectOptions>,
    /// The one that was the primary last.
    current: AtomicUsize,
    /// Whether one has been found yet.
    is_known: AtomicBool,
    pools: Mutex<Vec<PgPool>>,
}

impl Hosts {
    /// The servers of `database.url`, or of the single parts.
    pub(super) fn of(config: &DatabaseConfig) -> Result<Self, sqlx::Error> {
        Ok(Self {
            all: connect_options(config)?,
            ..Self::one(PgConnectOptions::new_without_pgpass())
        })
    }

    /// One server, which is the primary whenever it accepts writes.
    pub(super) fn one(options: PgConnectOptions) -> Self {
        Self {
            all: vec![options],
            current: AtomicUsize::new(0),
            is_known: AtomicBool::new(false),
            pools: Mutex::default(),
        }
    }

    /// The server that was the primary last.
    pub(super) fn current(&self) -> &PgConnectOptions {
        &self.all[self.current.load(Ordering::Relaxed)]
    }

    /// From now on this pool connects to the server that is the primary.
    pub(super) fn lead(&self, pool: &PgPool) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|known| !known.is_closed());
        pool.set_connect_options(self.current().clone());
        pools.push(pool.clone());
    }

    /// Connects to the server that accepts writes, and leads the pools to it.
    pub(super) async fn connect(
        &self,
        setup: &ConnectionSetup,
        limit: Duration,
    ) -> Result<PgConnection, sqlx::Error> {
        if let [only] = &*self.all {
            return connect(only, setup, limit).await;
        }
        let attempt = async |host: usize, pause: Duration| {
            tokio::time::sleep(pause).await;
            (host, connect(&self.all[host], setup, limit).await)
        };
        let mut attempts: FuturesUnordered<_> =
            (0..self.all.len()).map(|host| attempt(host, Duration::ZERO)).collect();
        let mut failures = BTreeMap::new();
        while let Some((host, attempted)) = attempts.next().await {
            match attempted {
                Ok(connection) => {
                    self.found(host);
                    return Ok(connection);
                }
                Err(error) => failures.insert(host, error),
            };
            if failures.len() == self.all.len() {
                break;
            }
            // While one of them is silent, as a machine without power is, another one may be promoted.
            attempts.push(attempt(host, PAUSE));
        }
        Err(self.summary(failures))
    }

    fn found(&self, host: usize) {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = self.is_known.swap(true, Ordering::Relaxed);
        if self.current.swap(host, Ordering::Relaxed) == host {
            return;
        }
        if is_known {
            let server = name_of(&self.all[host]);
            tracing::warn!(
                server,
                "another server of database.url accepts writes: connections go to it from now on"
            );
        }
        for pool in &*pools {
            pool.set_connect_options(self.all[host].clone());
        }
    }

    /// What the last primary says, where it answers; else what is wrong with each server.
    fn summary(&self, mut failures: BTreeMap<usize, sqlx::Error>) -> sqlx::Error {
        let current = self.current.load(Ordering::Relaxed);
        if let Some(error) = failures.remove(&current) {
            if error.as_database_error().is_some() {
                return error;
            }
            failures.insert(current, error);
        }
        let reason = |(host, error): (&usize, &sqlx::Error)| {
            format!("{}: {error}", name_of(&self.all[*host]))
        };
        let reasons: Vec<String> = failures.iter().map(reason).collect();
        refused(&format!("no server accepts writes: {}", reasons.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::servers::{PostgresShop, on_server};

    const LIMIT: Duration = Duration::from_mins(1);

    fn closed(port: u16) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port)
    }

    fn hosts(all: Vec<PgConnectOptions>) -> Hosts {
        Hosts { all, ..Hosts::one(closed(1)) }
    }

    #[tokio::test]
    async fn pools_are_led_to_the_server_that_accepts_writes() {
        let shop = PostgresShop::open().await;
        let setup = shop.database().await.setup;
        let hosts = hosts(vec![closed(1), shop.plain_options(), closed(2)]);
        let pool = PgPool::connect_lazy_with(closed(1));
        hosts.lead(&pool);

        hosts.connect(&setup, LIMIT).await.unwrap();

        let later = PgPool::connect_lazy_with(closed(1));
        hosts.lead(&later);
        for led in [&pool, &later] {
            assert_eq!(name_of(&led.connect_options()), name_of(&shop.plain_options()));
        }
    }

    #[tokio::test]
    async fn a_silent_server_does_not_hide_the_next_primary() {
        let shop = PostgresShop::open().await;
        let setup = shop.database().await.setup;
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let hosts = hosts(vec![closed(port), shop.plain_options()]);
        let admit =
            |admitted| format!("ALTER DATABASE {} ALLOW_CONNECTIONS {admitted}", shop.name());
        on_server(&admit(false)).await.unwrap();
        let later = async {
            // Until it has been refused.
            on_server("SELECT pg_sleep(0.5)").await.unwrap();
            on_server(&admit(true)).await.unwrap();
        };

        let (connected, ()) = tokio::join!(hosts.connect(&setup, LIMIT), later);

        connected.unwrap();
    }

    #[tokio::test]
    async fn what_is_wrong_with_each_server_is_said() {
        let error = hosts(vec![closed(1), closed(2)]);

        let error = error.connect(&ConnectionSetup::default(), LIMIT).await.unwrap_err();

        let text = error.to_string();
        for name in ["no server accepts writes", "127.0.0.1:1: ", "127.0.0.1:2: "] {
            assert!(text.contains(name), "{text}");
        }
    }

    #[tokio::test]
    async fn what_the_last_primary_refuses_is_told_apart() {
        let shop = PostgresShop::open().await;
        let refusing = shop.plain_options().database("nowhere");

        let error = hosts(vec![refusing, closed(1)]);
        let error = error.connect(&ConnectionSetup::default(), LIMIT).await.unwrap_err();

        let code = error.as_database_error().and_then(|error| error.code().map(Into::into));
        assert_eq!(code, Some("3D000".to_owned()), "{error}");
    }
}
