//! PostgreSQL and Redis: their URLs, processes, versions and settings.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::database;
use crate::outcome::Outcome;
use crate::usage::{Processes, parent};

/// Settings of PostgreSQL that figures depend on.
const SETTINGS: [&str; 6] = [
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "min_wal_size",
    "max_wal_size",
];

/// Fills as many WAL files as PostgreSQL keeps for reuse. The message makes each file non-empty.
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

/// The suite's private servers.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) database_url: String,
    pub(crate) redis_url: String,
    postmaster: u32,
    redis: u32,
    redis_version: String,
}

impl Servers {
    /// Connects to both, and finds their processes.
    pub(crate) fn connect(database_url: &str, redis_url: &str) -> Outcome<Self> {
        let postmaster = postmaster(database_url)?;
        let mut connection = redis::Client::open(redis_url)?.get_connection()?;
        let info: String = redis::cmd("INFO").arg("server").query(&mut connection)?;
        let field = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            line.ok_or_else(|| format!("Redis does not report its {name}"))
        };
        Ok(Self {
            database_url: database_url.to_owned(),
            redis_url: redis_url.to_owned(),
            postmaster,
            redis: field("process_id:")?.parse()?,
            redis_version: field("redis_version:")?.to_owned(),
        })
    }

    /// Gives PostgreSQL the WAL files of a server that has been in use. It creates a new one by writing zeroes while every commit
    /// waits, for 20 to 60 ms; after a checkpoint it reuses old ones.
    pub(crate) fn fill_log(&self) -> Outcome<()> {
        database::execute(&self.database_url, FILL_LOG)?;
        database::execute(&self.database_url, "CHECKPOINT")
    }

    /// The processes of a run with these instances.
    pub(crate) fn processes(&self, instances: Vec<u32>) -> Processes {
        Processes { instances, postmaster: Some(self.postmaster), redis: Some(self.redis) }
    }

    /// Versions and settings.
    pub(crate) fn describe(&self) -> Outcome<BTreeMap<String, String>> {
        let mut described = BTreeMap::new();
        for setting in SETTINGS.iter().chain(&["server_version"]) {
            let value = database::text(&self.database_url, &format!("SHOW {setting}"))?;
            described.insert(format!("postgresql.{setting}"), value);
        }
        described.insert("redis.version".to_owned(), self.redis_version.clone());
        Ok(described)
    }

    /// Empties Redis, which earlier stages would fill in the end.
    pub(crate) fn empty_redis(&self) -> Outcome<()> {
        let mut connection = redis::Client::open(self.redis_url.as_str())?.get_connection()?;
        redis::cmd("FLUSHALL").arg("SYNC").exec(&mut connection)?;
        Ok(())
    }

    /// A folder on PostgreSQL's disk, outside its data.
    pub(crate) fn folder(&self) -> Outcome<PathBuf> {
        let data = PathBuf::from(database::text(&self.database_url, "SHOW data_directory")?);
        Ok(data.parent().ok_or("PostgreSQL's folder is in no other")?.to_owned())
    }

    /// The TCP address of PostgreSQL, which has the same port as its socket.
    pub(crate) fn postgres_address(&self) -> Outcome<SocketAddr> {
        let port = database::text(&self.database_url, "SHOW port")?.parse()?;
        Ok(SocketAddr::from(([127, 0, 0, 1], port)))
    }
}

/// The parent of the checkpointer, which lives as long as the server.
fn postmaster(url: &str) -> Outcome<u32> {
    let query = "SELECT pid::text FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
    parent(database::text(url, query)?.parse()?)
}
