//! A database for one stage.

use std::net::SocketAddr;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::runtime::Runtime;

use crate::outcome::{Failure, Outcome};

/// An empty database, removed when dropped.
#[derive(Debug)]
pub(crate) struct Database {
    /// Its URL.
    pub(crate) url: String,
    name: String,
    server: String,
}

impl Database {
    /// Creates it, and writes the dirty pages of earlier runs, so that they are not part of this run's I/O.
    pub(crate) fn create(server: &str, name: &str) -> Outcome<Self> {
        execute(server, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))?;
        execute(server, &format!("CREATE DATABASE {name}"))?;
        execute(server, "CHECKPOINT")?;
        let url = with_database(server, name)?;
        Ok(Self { url, name: name.to_owned(), server: server.to_owned() })
    }

    /// Its name on its server.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its URL through another address, such as a proxy's.
    pub(crate) fn url_through(&self, address: SocketAddr) -> Outcome<String> {
        let user = self.url.split("://").nth(1).and_then(|rest| rest.split(['@', ':']).next());
        let user = user.ok_or("the database's URL names no user")?;
        Ok(format!("postgres://{user}@{address}/{}?sslmode=disable", self.name))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ =
            execute(&self.server, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

/// Runs statements one after the other.
pub(crate) fn execute(url: &str, statements: &str) -> Outcome<()> {
    runtime()?.block_on(async {
        let mut connection = PgConnection::connect(url).await?;
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut connection).await?;
        connection.close().await.map_err(Failure::from)
    })
}

/// Runs a query that returns one text.
pub(crate) fn text(url: &str, query: &str) -> Outcome<String> {
    runtime()?.block_on(async {
        let mut connection = PgConnection::connect(url).await?;
        let text = sqlx::query_scalar(AssertSqlSafe(query.to_owned()));
        let text = text.fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(text)
    })
}

fn runtime() -> Outcome<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// The same URL with another database: `postgres://user@host/NAME?options`.
fn with_database(url: &str, name: &str) -> Outcome<String> {
    let (base, options) = url.split_once('?').unwrap_or((url, ""));
    let (server, _) = base.rsplit_once('/').ok_or("the database's URL has no path")?;
    Ok(format!("{server}/{name}?{options}"))
}
