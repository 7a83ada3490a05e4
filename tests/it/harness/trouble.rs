//! Words that make trouble for a server.

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

/// Nothing that a sale writes can be added to any more: for PostgreSQL, in SQL.
pub(crate) const NO_ROOM: &str = "
    CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$;
    CREATE TRIGGER no_room BEFORE INSERT ON purchases FOR EACH ROW EXECUTE FUNCTION no_room();
    CREATE TRIGGER no_room BEFORE INSERT ON checkout_items FOR EACH ROW EXECUTE FUNCTION no_room()";
/// There is room again.
pub(crate) const ROOM: &str = "DROP FUNCTION no_room CASCADE";
/// A primary that has become a standby.
pub(crate) const READ_ONLY: [&str; 2] =
    ["ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"];
/// It is the primary again.
pub(crate) const WRITABLE: [&str; 2] =
    ["ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()"];
/// Ends every session of this database but the one that says it.
pub(crate) const CUT_SESSIONS: &str = "
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()";

/// Redis that refuses, and what makes it take again: no memory; a replica without a master; another password than ours.
pub(crate) const REDIS_REFUSES: [(&[&str], &[&str]); 3] = [
    (&["CONFIG SET maxmemory 1"], &["CONFIG SET maxmemory 0"]),
    (&["REPLICAOF 127.0.0.1 1"], &["REPLICAOF NO ONE"]),
    (
        &["CONFIG SET requirepass changed", "CLIENT KILL TYPE normal SKIPME yes"],
        &["CONFIG SET requirepass \"\""],
    ),
];

/// Says it to Redis in words.
pub(crate) async fn tell_redis(redis: &mut MultiplexedConnection, words: &str) {
    let mut words = words.split(' ').map(|word| word.trim_matches('"'));
    let mut command = redis::cmd(words.next().unwrap());
    command.arg(words.collect::<Vec<_>>());
    let _: redis::Value = command.query_async(redis).await.unwrap();
}

/// Every key with its time to live in milliseconds and its value, as a replica or a file would have them.
pub(crate) async fn all_keys(redis: &mut MultiplexedConnection) -> Vec<(String, i64, Vec<u8>)> {
    let keys: Vec<String> = redis.keys("*").await.unwrap();
    let mut all = Vec::new();
    for key in keys {
        let ttl: i64 = redis.pttl(&key).await.unwrap();
        let value: Option<Vec<u8>> = redis::cmd("DUMP").arg(&key).query_async(redis).await.unwrap();
        // What has expired meanwhile is in neither.
        all.extend(value.filter(|_| ttl > 0).map(|value| (key, ttl, value)));
    }
    all
}

/// Writes such keys, over what is there.
pub(crate) async fn put_back(redis: &mut MultiplexedConnection, keys: &[(String, i64, Vec<u8>)]) {
    for (key, ttl, value) in keys {
        let mut restore = redis::cmd("RESTORE");
        restore.arg(key).arg(ttl).arg(value).arg("REPLACE");
        let () = restore.query_async(redis).await.unwrap();
    }
}
