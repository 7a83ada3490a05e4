//! A single connection: how it is made, and the test whether it still answers.

use std::str::FromStr;
use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection, PgConnection};
use tracing::log::LevelFilter;

use super::setup::ConnectionSetup;
use crate::config::{DatabaseConfig, Pooler, SslMode};

/// Longest wait for the answer to a ping.
pub(super) const PING_TIMEOUT: Duration = Duration::from_millis(500);

/// Whether the server answers a ping in time.
pub(crate) async fn answers(connection: &mut PgConnection) -> bool {
    matches!(tokio::time::timeout(PING_TIMEOUT, connection.ping()).await, Ok(Ok(())))
}

/// The error of a server that did not answer in time.
pub(crate) fn no_answer() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "the connection does not answer")
}

/// Connects and prepares the connection, within the limit.
pub(crate) async fn connect(
    options: &PgConnectOptions,
    setup: &ConnectionSetup,
    limit: Duration,
) -> Result<PgConnection, sqlx::Error> {
    let connect = async {
        let mut connection = options.connect().await?;
        setup.prepare(&mut connection).await?;
        Ok(connection)
    };
    tokio::time::timeout(limit, connect).await.unwrap_or_else(|_| Err(no_answer().into()))
}

/// The options of every connection, for each server.
pub(crate) fn connect_options(
    config: &DatabaseConfig,
) -> Result<Vec<PgConnectOptions>, sqlx::Error> {
    let urls = config.urls();
    let named: Result<Vec<_>, _> =
        urls.iter().map(|url| PgConnectOptions::from_str(url.expose_secret())).collect();
    let mut servers = named?;
    if servers.is_empty() {
        servers.push(PgConnectOptions::new_without_pgpass());
    }
    if let Some(first) = servers.first()
        && !config.parts.hosts.is_empty()
    {
        servers = config.parts.hosts.iter().map(|host| first.clone().host(host)).collect();
    }
    Ok(servers.into_iter().map(|server| with_parts(server, config)).collect())
}

fn with_parts(mut options: PgConnectOptions, config: &DatabaseConfig) -> PgConnectOptions {
    let parts = &config.parts;
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
    if config.pooler == Pooler::Session {
        // PgBouncer refuses start-up parameters that it does not know. What the driver wants of this one is PostgreSQL's default.
        options = options.extra_float_digits(None);
    }
    options
        .application_name("flash-sale")
        .log_statements(LevelFilter::Trace)
        .log_slow_statements(LevelFilter::Warn, config.slow_statement)
}

/// Host and port, or the folder of the socket.
pub(crate) fn name_of(options: &PgConnectOptions) -> String {
    let host =
        options.get_socket().map_or(options.get_host().into(), |path| path.to_string_lossy());
    format!("{host}:{}", options.get_port())
}
