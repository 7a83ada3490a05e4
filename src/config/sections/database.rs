//! `database.*`: PostgreSQL.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::circuit::CircuitConfig;
use super::servers;
use crate::config::reader::Reader;
use crate::config::units::{DAY, HOUR, MINUTE, MS, SECOND};
use crate::domain::cell::CellId;

/// `database.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct DatabaseConfig {
    pub url: SecretString,
    pub parts: DatabaseParts,
    pub min_connections: u32,
    pub max_connections: u32,
    pub idle_timeout: Duration,
    pub max_lifetime: Duration,
    pub connect_timeout: Duration,
    pub statement_timeout: Duration,
    pub lock_timeout: Duration,
    pub idle_in_transaction_session_timeout: Duration,
    pub retries: usize,
    pub retry_delay: Duration,
    pub migrate_on_start: bool,
    pub slow_statement: Duration,
    pub replicas: Vec<SecretString>,
    pub replica_max_lag: Duration,
    pub pooler: Pooler,
    pub cell: CellId,
    pub circuit: CircuitConfig,
}

/// `database.pooler`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooler {
    /// Connections lead to PostgreSQL itself.
    None,
    /// A pooler gives each connection a session of its own until it is closed.
    Session,
}

/// The parts of the address in `database.*`; each is `None` where the URL applies.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct DatabaseParts {
    /// Empty where the URL's apply.
    pub hosts: Vec<String>,
    pub port: Option<u16>,
    pub name: Option<String>,
    pub username: Option<String>,
    pub password: Option<SecretString>,
    pub ssl_mode: Option<SslMode>,
    pub ssl_root_cert: Option<PathBuf>,
}

/// `database.ssl_mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "libpq's names")]
pub enum SslMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl DatabaseConfig {
    /// The URL for each server that `database.url` names; none if it is empty.
    pub(crate) fn urls(&self) -> Vec<SecretString> {
        let urls = servers::urls(self.url.expose_secret()).unwrap_or_default();
        urls.into_iter().map(SecretString::from).collect()
    }

    pub(crate) fn read(read: &mut Reader) -> Self {
        let url = read.secret("database.url");
        check_url(read, url.expose_secret());
        let parts = DatabaseParts::read(read, url.expose_secret().is_empty());
        if let Some(fault) = servers::fault_of(&parts.hosts) {
            read.fault("database.host", fault);
        }
        let min_connections = read.number("database.min_connections", 0..=10_000);
        let max_connections = read.number("database.max_connections", 1..=10_000);
        if min_connections > max_connections {
            read.fault("database.min_connections", "must not be above database.max_connections");
        }
        Self {
            url,
            parts,
            min_connections,
            max_connections,
            idle_timeout: read.duration("database.idle_timeout", SECOND..=DAY),
            max_lifetime: read.duration("database.max_lifetime", SECOND..=7 * DAY),
            connect_timeout: read.duration("database.connect_timeout", 10 * MS..=10 * MINUTE),
            statement_timeout: read.duration("database.statement_timeout", 10 * MS..=HOUR),
            lock_timeout: read.duration("database.lock_timeout", MS..=MINUTE),
            idle_in_transaction_session_timeout: read
                .duration("database.idle_in_transaction_session_timeout", 10 * MS..=MINUTE),
            retries: read.number("database.retries", 0..=1_000),
            retry_delay: read.duration("database.retry_delay", MS..=MINUTE),
            migrate_on_start: read.flag("database.migrate_on_start"),
            slow_statement: read.duration("database.slow_statement", MS..=HOUR),
            replicas: replicas(read),
            replica_max_lag: read.duration("database.replica_max_lag", 100 * MS..=HOUR),
            pooler: pooler(read),
            cell: cell(read),
            circuit: CircuitConfig::read(read, "database"),
        }
    }
}

fn cell(read: &mut Reader) -> CellId {
    CellId::new(read.number("database.cell", 0..=CellId::MAX)).unwrap_or_default()
}

/// Transactions of a pooler in transaction mode come from any session: what was set or prepared in one is not there in the next.
fn pooler(read: &mut Reader) -> Pooler {
    const KEY: &str = "database.pooler";
    if read.text(KEY) == "transaction" {
        read.fault(
            KEY,
            "transaction mode is not supported, because sessions would lose their settings and prepared statements: set \
             pool_mode = session at the pooler, and database.pooler to session",
        );
        return Pooler::Session;
    }
    let modes = [("none", Pooler::None), ("session", Pooler::Session)];
    read.choice(KEY, &modes).unwrap_or(Pooler::None)
}

/// The URLs of replicas, one a server.
fn replicas(read: &mut Reader) -> Vec<SecretString> {
    const KEY: &str = "database.replicas";
    let urls = read.list(KEY);
    let is_url = |url: &String| url.starts_with("postgres://") || url.starts_with("postgresql://");
    if !urls.iter().all(is_url) {
        read.fault(
            KEY,
            "must be URLs of one replica each, comma-separated, such as postgres://user:password@host:5432/name; a comma inside \
             a password is %2C",
        );
    }
    urls.into_iter().map(SecretString::from).collect()
}

fn check_url(read: &mut Reader, url: &str) {
    const KEY: &str = "database.url";
    if let Err(fault) = servers::urls(url) {
        read.fault(KEY, fault);
    }
    if let Some(fault) = servers::fault_of_files(url) {
        read.fault(KEY, fault);
    }
    // The service checks by itself that a server accepts writes.
    if servers::parameter(url, "target_session_attrs")
        .is_some_and(|wanted| !["any", "read-write", "primary"].contains(&wanted))
    {
        read.fault(KEY, "must not ask for a standby (target_session_attrs): the service writes");
    }
}

impl DatabaseParts {
    /// With a URL, only those parts apply that the environment sets by themselves.
    fn read(read: &mut Reader, no_url: bool) -> Self {
        let applying = |read: &Reader, key: &'static str| {
            (no_url || read.is_from_environment(key)).then_some(key)
        };
        let ssl_mode = ssl_mode(read);
        Self {
            hosts: applying(read, "database.host")
                .map(|key| read.filled(key).split(',').map(|host| host.trim().to_owned()).collect())
                .unwrap_or_default(),
            port: applying(read, "database.port").map(|key| read.number(key, 1..=u16::MAX)),
            name: applying(read, "database.name").map(|key| read.filled(key)),
            username: applying(read, "database.username").map(|key| read.filled(key)),
            password: applying(read, "database.password")
                .map(|key| read.secret(key))
                .filter(|password| !password.expose_secret().is_empty()),
            ssl_mode: applying(read, "database.ssl_mode").and(ssl_mode),
            ssl_root_cert: read.file("database.ssl_root_cert"),
        }
    }
}

fn ssl_mode(read: &mut Reader) -> Option<SslMode> {
    let modes = [
        ("disable", SslMode::Disable),
        ("prefer", SslMode::Prefer),
        ("require", SslMode::Require),
        ("verify-ca", SslMode::VerifyCa),
        ("verify-full", SslMode::VerifyFull),
    ];
    read.choice("database.ssl_mode", &modes)
}
