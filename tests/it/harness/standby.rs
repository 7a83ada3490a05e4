//! A streaming standby, which can be cut off from its primary.

use sqlx::PgPool;

use super::eventually::until;
use super::servers::PrivateServers;

/// A standby that has what its primary had when it was cut off.
#[derive(Debug)]
pub(crate) struct Standby {
    /// The server.
    pub(crate) servers: PrivateServers,
    /// Its URL.
    pub(crate) url: String,
    pool: PgPool,
}

impl Standby {
    /// Starts it, as a standby of this server. `connect` gives connections to the test's database by the server's URL.
    pub(crate) fn of(primary: &PrivateServers, connect: impl FnOnce(&str) -> PgPool) -> Self {
        let (servers, url) = primary.standby();
        let pool = connect(&url);
        Self { servers, url, pool }
    }

    /// Waits until it has everything that the primary has written so far.
    pub(crate) async fn catches_up(&self, primary: &PgPool) {
        let written = "SELECT pg_current_wal_lsn()::text";
        let written: String = sqlx::query_scalar(written).fetch_one(primary).await.unwrap();
        let replayed = "SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn";
        until("the standby has caught up", async || {
            let replayed = sqlx::query_scalar(replayed).bind(&written);
            replayed.fetch_one(&self.pool).await.unwrap()
        })
        .await;
    }

    /// Runs a statement on it.
    pub(crate) async fn execute(&self, statement: &'static str) {
        sqlx::raw_sql(statement).execute(&self.pool).await.unwrap();
    }

    /// Stops to replay what it receives, and lets reads see what it has.
    pub(crate) async fn is_paused(&self) {
        self.execute("SELECT pg_wal_replay_pause()").await;
        until("the standby is paused", async || {
            let state = sqlx::query_scalar::<_, String>("SELECT pg_get_wal_replay_pause_state()");
            state.fetch_one(&self.pool).await.unwrap() == "paused"
        })
        .await;
    }

    /// Ends [`Self::is_paused`].
    pub(crate) async fn goes_on(&self) {
        self.execute("SELECT pg_wal_replay_resume()").await;
    }

    /// Cuts it off from its primary.
    pub(crate) async fn is_cut_off(&self) {
        for statement in ["ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()"] {
            sqlx::raw_sql(statement).execute(&self.pool).await.unwrap();
        }
        until("the standby is cut off", async || {
            let receiving = "SELECT EXISTS (SELECT FROM pg_stat_wal_receiver)";
            !sqlx::query_scalar::<_, bool>(receiving).fetch_one(&self.pool).await.unwrap()
        })
        .await;
    }
}
