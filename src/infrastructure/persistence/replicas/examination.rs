//! Finds out what a server that is configured as replica is.

use sqlx::{FromRow, PgConnection, Row};

use super::state::ReplicaState;
use crate::infrastructure::persistence::pool::server_history::Server;

/// What a standby knows of itself. The three timelines are what it has received, where it last restarted from, and what its files need:
/// each of them may be behind, and the first is hidden from users without `pg_monitor`.
const EXAMINE: &str = r#"
    SELECT pg_is_in_recovery() AS is_standby,
           (pg_control_system()).system_identifier,
           (SELECT oid::bigint FROM pg_database WHERE datname = current_database()) AS database,
           greatest(
               (SELECT max(received_tli) FROM pg_stat_wal_receiver),
               (pg_control_checkpoint()).timeline_id,
               (pg_control_recovery()).min_recovery_end_timeline
           ) AS timeline,
           pg_wal_lsn_diff(coalesce(pg_last_wal_replay_lsn(), '0/0'), '0/0')::bigint AS "position",
           (extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()))::float8 AS own_lag,
           (SELECT id FROM epochs ORDER BY number DESC LIMIT 1) AS epoch
"#;

/// What a connection is asked before it is lent.
const REPLAYED: &str = r"
    SELECT pg_is_in_recovery(), pg_wal_lsn_diff(coalesce(pg_last_wal_replay_lsn(), '0/0'), '0/0')::bigint
";

/// What a server is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Examined {
    is_standby: bool,
    server: Server,
    /// How far it has replayed the write-ahead log, in bytes.
    pub(crate) position: i64,
    /// How long ago, by its own clock, the last transaction was committed that it has replayed.
    pub(crate) own_lag: Option<f64>,
    epoch: Option<i64>,
}

impl Examined {
    /// What is wrong with it as a replica of this primary, apart from its lag.
    pub(crate) fn fault(&self, primary: Server, epoch: i64) -> Option<ReplicaState> {
        if self.server.system_identifier != primary.system_identifier {
            return Some(ReplicaState::Foreign("the cluster has another system identifier"));
        }
        if self.server.database != primary.database {
            return Some(ReplicaState::Foreign("the URL names another database"));
        }
        if !self.is_standby {
            return Some(ReplicaState::Promoted);
        }
        let is_behind = self.epoch != Some(epoch);
        (is_behind || self.server.timeline > primary.timeline).then_some(ReplicaState::OtherHistory)
    }
}

impl FromRow<'_, sqlx::postgres::PgRow> for Examined {
    fn from_row(row: &sqlx::postgres::PgRow) -> Result<Self, sqlx::Error> {
        let server = Server {
            system_identifier: row.try_get("system_identifier")?,
            database: row.try_get("database")?,
            timeline: row.try_get("timeline")?,
        };
        Ok(Self {
            is_standby: row.try_get("is_standby")?,
            server,
            position: row.try_get("position")?,
            own_lag: row.try_get("own_lag")?,
            epoch: row.try_get("epoch")?,
        })
    }
}

/// Examines the server at the other end.
pub(crate) async fn examine(connection: &mut PgConnection) -> Result<Examined, sqlx::Error> {
    sqlx::query_as(EXAMINE).fetch_one(connection).await
}

/// Whether the server is a standby, and how far it has replayed.
pub(crate) async fn replayed(connection: &mut PgConnection) -> Result<(bool, i64), sqlx::Error> {
    sqlx::query_as(REPLAYED).fetch_one(connection).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIMARY: Server = Server { system_identifier: 1, database: 2, timeline: 3 };
    const EPOCH: i64 = 4;
    const STANDBY: Examined = Examined {
        is_standby: true,
        server: PRIMARY,
        position: 5,
        own_lag: None,
        epoch: Some(EPOCH),
    };

    fn fault(of: Examined) -> Option<ReplicaState> {
        of.fault(PRIMARY, EPOCH)
    }

    #[test]
    fn a_standby_of_the_primary_has_no_fault_and_may_still_show_an_older_timeline() {
        let older = Server { timeline: 2, ..PRIMARY };

        assert_eq!(fault(STANDBY), None);
        assert_eq!(fault(Examined { server: older, ..STANDBY }), None);
    }

    #[test]
    fn what_is_no_copy_or_follows_no_more_is_not_read_from() {
        let cluster = Server { system_identifier: 9, ..PRIMARY };
        let database = Server { database: 9, ..PRIMARY };
        let timeline = Server { timeline: 4, ..PRIMARY };

        let foreign = |server| {
            matches!(fault(Examined { server, ..STANDBY }), Some(ReplicaState::Foreign(_)))
        };
        assert!(foreign(cluster) && foreign(database));
        assert_eq!(fault(Examined { is_standby: false, ..STANDBY }), Some(ReplicaState::Promoted));
        assert_eq!(
            fault(Examined { server: timeline, ..STANDBY }),
            Some(ReplicaState::OtherHistory)
        );
        assert_eq!(fault(Examined { epoch: Some(3), ..STANDBY }), Some(ReplicaState::OtherHistory));
        assert_eq!(fault(Examined { epoch: None, ..STANDBY }), Some(ReplicaState::OtherHistory));
    }
}
