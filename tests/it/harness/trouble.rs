//! Commands that make a server fail in part.

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

/// PostgreSQL's disk is full: inserts of a sale fail.
pub(crate) const NO_ROOM: &str = "
    CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$;
    CREATE TRIGGER no_room BEFORE INSERT ON purchases FOR EACH ROW EXECUTE FUNCTION no_room();
    CREATE TRIGGER no_room BEFORE INSERT ON checkout_items FOR EACH ROW EXECUTE FUNCTION no_room()";
/// Ends [`NO_ROOM`].
pub(crate) const ROOM: &str = "DROP FUNCTION no_room CASCADE";
/// PostgreSQL has become a standby: it accepts no writes.
pub(crate) const READ_ONLY: [&str; 2] =
    ["ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"];
/// Ends [`READ_ONLY`].
pub(crate) const WRITABLE: [&str; 2] =
    ["ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()"];
/// A synchronous standby that does not exist: every commit waits for it.
pub(crate) const STANDBY_AWAY: [&str; 2] =
    ["ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()"];
/// Ends [`STANDBY_AWAY`].
pub(crate) const NO_STANDBY: [&str; 2] =
    ["ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()"];
/// As if the server had been promoted since the latest epoch began.
pub(crate) const OTHER_HISTORY: &str = "
    UPDATE epochs SET timeline = timeline - 1
    WHERE number = (SELECT max(number) FROM epochs)";
/// Terminates every other session of this database.
pub(crate) const CUT_SESSIONS: &str = "
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()";

/// Commands that make Redis refuse, each with those that end it: no memory; a replica without a master; another password.
pub(crate) const REDIS_REFUSES: [(&[&str], &[&str]); 3] = [
    (&["CONFIG SET maxmemory 1"], &["CONFIG SET maxmemory 0"]),
    (&["REPLICAOF 127.0.0.1 1"], &["REPLICAOF NO ONE"]),
    (
        &["CONFIG SET requirepass changed", "CLIENT KILL TYPE normal SKIPME yes"],
        &["CONFIG SET requirepass \"\""],
    ),
];

/// Sends a command to Redis, its words separated by spaces.
pub(crate) async fn send_to_redis(redis: &mut MultiplexedConnection, words: &str) {
    let mut words = words.split(' ').map(|word| word.trim_matches('"'));
    let mut command = redis::cmd(words.next().unwrap());
    command.arg(words.collect::<Vec<_>>());
    let _: redis::Value = command.query_async(redis).await.unwrap();
}

/// Every key with its time to live in milliseconds and its value, as a replica or a dump file has them.
pub(crate) async fn all_keys(redis: &mut MultiplexedConnection) -> Vec<(String, i64, Vec<u8>)> {
    let keys: Vec<String> = redis.keys("*").await.unwrap();
    let mut all = Vec::new();
    for key in keys {
        let ttl: i64 = redis.pttl(&key).await.unwrap();
        let value: Option<Vec<u8>> = redis::cmd("DUMP").arg(&key).query_async(redis).await.unwrap();
        // A key that has expired meanwhile is left out.
        all.extend(value.filter(|_| ttl > 0).map(|value| (key, ttl, value)));
    }
    all
}

/// Writes these keys, and replaces those that exist.
pub(crate) async fn put_back(redis: &mut MultiplexedConnection, keys: &[(String, i64, Vec<u8>)]) {
    for (key, ttl, value) in keys {
        let mut restore = redis::cmd("RESTORE");
        restore.arg(key).arg(ttl).arg(value).arg("REPLACE");
        let () = restore.query_async(redis).await.unwrap();
    }
}
