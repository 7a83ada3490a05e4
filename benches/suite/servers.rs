//! PostgreSQL and Redis: where they are, which processes they are, and what they say of themselves.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::Outcome;
use crate::database;
use crate::usage::{Parties, parent};

/// Settings of PostgreSQL that a figure depends on.
const SETTINGS: [&str; 6] = [
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "min_wal_size",
    "max_wal_size",
];

/// Fills as many files of the log as PostgreSQL keeps for later use. A message is there to have something in each of them.
const FILL_LOG: &str = r"
    DO $$
    BEGIN
        FOR file IN 1 .. pg_size_bytes(current_setting('min_wal_size'))
                         / pg_size_bytes(current_setting('wal_segment_size')) LOOP
            PERFORM pg_logical_emit_message(false, 'bench', '');
            PERFORM pg_switch_wal();
        END LOOP;
    END $$
";

/// The suite's own servers.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) database_url: String,
    pub(crate) redis_url: String,
    postmaster: u32,
    redis: u32,
    redis_version: String,
}

impl Servers {
    /// Asks both who they are.
    pub(crate) fn connect(database_url: &str, redis_url: &str) -> Outcome<Self> {
        let postmaster = postmaster(database_url)?;
        let mut connection = redis::Client::open(redis_url)?.get_connection()?;
        let info: String = redis::cmd("INFO").arg("server").query(&mut connection)?;
        let field = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            line.ok_or_else(|| format!("Redis does not tell its {name}"))
        };
        Ok(Self {
            database_url: database_url.to_owned(),
            redis_url: redis_url.to_owned(),
            postmaster,
            redis: field("process_id:")?.parse()?,
            redis_version: field("redis_version:")?.to_owned(),
        })
    }

    /// Gives PostgreSQL the log files that one has which has been in use for a while. It makes a new one by writing zeroes
    /// while every commit waits, 20 to 60 ms each; after a checkpoint it takes the old ones again.
    pub(crate) fn fill_log(&self) -> Outcome<()> {
        database::execute(&self.database_url, FILL_LOG)?;
        database::execute(&self.database_url, "CHECKPOINT")
    }

    /// Whose CPU time a run with these instances uses.
    pub(crate) fn parties(&self, instances: Vec<u32>) -> Parties {
        Parties { instances, postmaster: Some(self.postmaster), redis: Some(self.redis) }
    }

    /// Versions and settings.
    pub(crate) fn describe(&self) -> Outcome<BTreeMap<String, String>> {
        let mut told = BTreeMap::new();
        for setting in SETTINGS.iter().chain(&["server_version"]) {
            let value = database::text(&self.database_url, &format!("SHOW {setting}"))?;
            told.insert(format!("postgresql.{setting}"), value);
        }
        told.insert("redis.version".to_owned(), self.redis_version.clone());
        Ok(told)
    }

    /// Empties Redis: what earlier stages left there would fill it one day.
    pub(crate) fn empty_redis(&self) -> Outcome<()> {
        let mut connection = redis::Client::open(self.redis_url.as_str())?.get_connection()?;
        redis::cmd("FLUSHALL").arg("SYNC").exec(&mut connection)?;
        Ok(())
    }

    /// A folder on PostgreSQL's disk that is not PostgreSQL's.
    pub(crate) fn folder(&self) -> Outcome<PathBuf> {
        let data = PathBuf::from(database::text(&self.database_url, "SHOW data_directory")?);
        Ok(data.parent().ok_or("PostgreSQL's folder is in no other")?.to_owned())
    }

    /// Where PostgreSQL listens for TCP: beside its socket, on the same port.
    pub(crate) fn postgres_port(&self) -> Outcome<u16> {
        Ok(database::text(&self.database_url, "SHOW port")?.parse()?)
    }
}

/// The checkpointer lives as long as the server, and its parent is the postmaster.
fn postmaster(url: &str) -> Outcome<u32> {
    let query = "SELECT pid::text FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
    parent(database::text(url, query)?.parse()?)
}
