//! A database for one test.

use std::net::SocketAddr;

use reqwest::Url;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::program::Program;

/// A database, removed when dropped.
#[derive(Debug)]
pub(crate) struct Database {
    /// Its URL.
    pub(crate) url: String,
    /// The test's own connections.
    pub(crate) pool: PgPool,
    name: String,
    server: String,
}

/// A database of the shared server with this release's schema and nothing else. It goes with its server.
static MIGRATED: OnceCell<String> = OnceCell::const_new();

impl Database {
    /// Creates it on a server.
    pub(crate) async fn create(server: &str) -> Self {
        let name = new_name();
        execute(server, format!("CREATE DATABASE {name}")).await.unwrap();
        Self::named(server, name)
    }

    /// Creates it on the shared server with this release's schema: a copy takes a third of the time that migrations do.
    pub(crate) async fn migrated(server: &str, program: &Program) -> Self {
        let template = MIGRATED.get_or_init(async || {
            let name = new_name();
            execute(server, format!("CREATE DATABASE {name}")).await.unwrap();
            let program = program.clone().variable("DATABASE_URL", &url_of(server, &name));
            program.run(&["migrate"]).await.succeeded();
            name
        });
        let (template, name) = (template.await, new_name());
        execute(server, format!("CREATE DATABASE {name} TEMPLATE {template}")).await.unwrap();
        Self::named(server, name)
    }

    fn named(server: &str, name: String) -> Self {
        let url = url_of(server, &name);
        Self { pool: connect(&url), url, name, server: server.to_owned() }
    }
}

fn new_name() -> String {
    format!("it_{}", Uuid::now_v7().simple())
}

impl Database {
    /// The TCP address of its server, which has the same port as its socket.
    pub(crate) fn address(&self) -> SocketAddr {
        address_of(&self.url)
    }

    /// Connections to this database on another server, such as a standby.
    pub(crate) fn on(&self, server: &str) -> PgPool {
        connect(&url_of(server, &self.name))
    }

    /// This database on a server that has taken over from its own.
    pub(crate) fn taken_over_by(&self, server: &str) -> Self {
        let url = url_of(server, &self.name);
        Self { pool: connect(&url), url, name: self.name.clone(), server: server.to_owned() }
    }

    /// Its URL through another address, such as a proxy's.
    pub(crate) fn url_through(&self, address: SocketAddr) -> String {
        let user = Url::parse(&self.url).unwrap().username().to_owned();
        format!("postgres://{user}@{address}/{}?sslmode=disable", self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // In a runtime of its own, because the test's may be shutting down. It fails for a server that was killed.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map(|runtime| {
                let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                runtime.block_on(execute(&server, drop)).is_ok()
            })
        });
        let _ = dropping.join();
    }
}

fn url_of(server: &str, database: &str) -> String {
    let mut url = Url::parse(server).unwrap();
    url.set_path(database);
    url.into()
}

fn connect(url: &str) -> PgPool {
    PgPoolOptions::new().max_connections(4).connect_lazy(url).unwrap()
}

/// The TCP address of a server by its URL.
pub(crate) fn address_of(url: &str) -> SocketAddr {
    let url = Url::parse(url).unwrap();
    let named = url.query_pairs().find(|(name, _)| name == "port");
    let port = named.map_or(url.port(), |(_, port)| port.parse().ok());
    SocketAddr::from(([127, 0, 0, 1], port.unwrap_or(5432)))
}

async fn execute(server: &str, statement: String) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(server).await?;
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
    connection.close().await
}
