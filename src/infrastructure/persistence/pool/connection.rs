//! A single connection: how it is made, its session settings, and the test whether it still answers.

use std::fmt::Write;
use std::str::FromStr;
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection, PgConnection};
use tracing::log::LevelFilter;

use crate::config::{DatabaseConfig, SslMode};

/// Longest wait for the answer to a ping.
const PING_TIMEOUT: Duration = Duration::from_millis(500);

/// What the planner's settings are tuned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planning {
    /// Look-ups by key: all statements of requests and background tasks. A statement is planned once, for any number of rows, and
    /// never scans a table sequentially.
    Keys,
    /// Joins of whole tables, as in an audit.
    Tables,
}

impl Planning {
    fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Keys => &[
                ("plan_cache_mode", "force_generic_plan"),
                ("enable_seqscan", "off"),
                ("enable_bitmapscan", "off"),
                // No statement looks up a key twice.
                ("enable_memoize", "off"),
            ],
            Self::Tables => &[],
        }
    }
}

/// Whether the server answers a ping in time.
pub(crate) async fn answers(connection: &mut PgConnection) -> bool {
    matches!(tokio::time::timeout(PING_TIMEOUT, connection.ping()).await, Ok(Ok(())))
}

/// The error of a server that did not answer in time.
pub(crate) fn no_answer() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "the connection does not answer")
}

/// Connects and disconnects, to find out whether that works within the limit. Returns how long connecting took.
pub(crate) async fn connect_once(
    options: &PgConnectOptions,
    limit: Duration,
) -> Result<Duration, sqlx::Error> {
    let since = Instant::now();
    let connection = connect(options, limit).await?;
    let took = since.elapsed();
    connection.close().await?;
    Ok(took)
}

/// Connects within the limit.
pub(crate) async fn connect(
    options: &PgConnectOptions,
    limit: Duration,
) -> Result<PgConnection, sqlx::Error> {
    match tokio::time::timeout(limit, options.connect()).await {
        Ok(connection) => connection,
        Err(_) => Err(no_answer().into()),
    }
}

/// The options of every connection.
pub(crate) fn connect_options(
    config: &DatabaseConfig,
    planning: Planning,
) -> Result<PgConnectOptions, sqlx::Error> {
    let url = config.url.expose_secret();
    let mut options = if url.is_empty() {
        PgConnectOptions::new_without_pgpass()
    } else {
        PgConnectOptions::from_str(url)?
    };
    let parts = &config.parts;
    if let Some(host) = &parts.host {
        options = options.host(host);
    }
    if let Some(port) = parts.port {
        options = options.port(port);
    }
    if let Some(name) = &parts.name {
        options = options.database(name);
    }
    if let Some(username) = &parts.username {
        options = options.username(username);
    }
    if let Some(password) = &parts.password {
        options = options.password(password.expose_secret());
    }
    if let Some(mode) = parts.ssl_mode {
        options = options.ssl_mode(match mode {
            SslMode::Disable => PgSslMode::Disable,
            SslMode::Prefer => PgSslMode::Prefer,
            SslMode::Require => PgSslMode::Require,
            SslMode::VerifyCa => PgSslMode::VerifyCa,
            SslMode::VerifyFull => PgSslMode::VerifyFull,
        });
    }
    if let Some(certificate) = &parts.ssl_root_cert {
        options = options.ssl_root_cert(certificate);
    }
    Ok(options
        .application_name("flash-sale")
        .options(session_settings(config))
        .options(planning.settings().iter().copied())
        .log_statements(LevelFilter::Trace)
        .log_slow_statements(LevelFilter::Warn, config.slow_statement))
}

/// The settings of every session. JIT is off: it compiles for longer than any statement here runs.
fn session_settings(config: &DatabaseConfig) -> Vec<(&'static str, String)> {
    let milliseconds = |time: Duration| {
        let mut text = String::new();
        let _ = write!(text, "{}ms", time.as_millis());
        text
    };
    vec![
        ("statement_timeout", milliseconds(config.statement_timeout)),
        ("lock_timeout", milliseconds(config.lock_timeout)),
        (
            "idle_in_transaction_session_timeout",
            milliseconds(config.idle_in_transaction_session_timeout),
        ),
        ("jit", "off".to_owned()),
        // Batches need it, whatever the database's default is: a statement must see everything committed before it.
        ("default_transaction_isolation", "read committed".to_owned()),
    ]
}
