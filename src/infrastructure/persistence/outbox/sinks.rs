//! How far each sink has delivered, and which instance delivers.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Row};
use uuid::Uuid;

use crate::application::ports::{PortError, SinkStore};
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;

type PgQuery<'q> = Query<'q, Postgres, PgArguments>;

const WHAT: &str = "the positions of sinks";

/// A new sink begins at the end of the log. What is committed and has no position yet is delivered.
const REGISTER: &str = r"
    INSERT INTO event_sinks (name, position)
    SELECT $1, last FROM outbox_order
    ON CONFLICT (name) DO NOTHING
";

pub(crate) const LEASE: &str = r"
    UPDATE event_sinks
    SET owner = $2, leased_until = clock_timestamp() + make_interval(secs => $3)
    WHERE name = $1 AND (owner = $2 OR owner IS NULL OR leased_until < clock_timestamp())
    RETURNING position
";

/// An instance that took the lease since then has written its own id as the owner. After a failover that lost commits the position is an earlier one.
const ADVANCE: &str = r"
    UPDATE event_sinks
    SET position = $4, leased_until = clock_timestamp() + make_interval(secs => $5)
    WHERE name = $1 AND owner = $2 AND position = $3
    RETURNING true
";

const RELEASE: &str =
    "UPDATE event_sinks SET owner = NULL WHERE name = $1 AND owner = $2 RETURNING true";

pub(crate) const PENDING: &str =
    "SELECT s.name, greatest(o.last - s.position, 0) FROM event_sinks AS s, outbox_order AS o";

/// Keeps positions in `event_sinks`.
pub(crate) struct PostgresSinkStore {
    database: Database,
}

impl PostgresSinkStore {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }

    /// Writes to the row of a sink, and returns what the statement returns. Every such write may be repeated.
    async fn write(&self, statement: PgQuery<'_>) -> Result<Option<PgRow>, PortError> {
        let write = async {
            let mut connection = self.database.acquire().await?;
            self.database.time(Statement::Outbox, statement.fetch_optional(&mut *connection)).await
        };
        let within = self.database.within(self.database.answer_timeout(), write);
        within.await.map_err(|error| error.into_port_error(WHAT))
    }
}

#[async_trait]
impl SinkStore for PostgresSinkStore {
    async fn register(&self, sink: &'static str) -> Result<(), PortError> {
        self.write(sqlx::query(REGISTER).bind(sink)).await.map(drop)
    }

    async fn lease(
        &self,
        sink: &'static str,
        owner: Uuid,
        term: Duration,
    ) -> Result<Option<i64>, PortError> {
        let query = sqlx::query(LEASE).bind(sink).bind(owner).bind(term.as_secs_f64());
        let leased = self.write(query).await?.map(|row| row.try_get(0));
        leased.transpose().map_err(|error| DatabaseError::from(error).into_port_error(WHAT))
    }

    async fn advance(
        &self,
        sink: &'static str,
        owner: Uuid,
        (from, to): (i64, i64),
        term: Duration,
    ) -> Result<bool, PortError> {
        let query = sqlx::query(ADVANCE).bind(sink).bind(owner).bind(from).bind(to);
        Ok(self.write(query.bind(term.as_secs_f64())).await?.is_some())
    }

    async fn release(&self, sink: &'static str, owner: Uuid) -> Result<(), PortError> {
        self.write(sqlx::query(RELEASE).bind(sink).bind(owner)).await.map(drop)
    }

    async fn pending(&self) -> Result<Vec<(String, i64)>, PortError> {
        let query = || sqlx::query_as(PENDING).fetch_all(self.database.pool());
        self.database.read(WHAT, query).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::servers::PostgresShop;

    const TERM: Duration = Duration::from_mins(5);

    fn owner(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    #[tokio::test]
    async fn one_owner_at_a_time_delivers() {
        let shop = PostgresShop::open().await;
        let sinks = PostgresSinkStore::new(shop.database().await);
        sinks.register("stream").await.unwrap();

        assert_eq!(sinks.lease("stream", owner(1), TERM).await.unwrap(), Some(0));
        assert_eq!(sinks.lease("stream", owner(2), TERM).await.unwrap(), None);
        assert!(sinks.advance("stream", owner(1), (0, 7), TERM).await.unwrap());
        assert!(!sinks.advance("stream", owner(1), (0, 8), TERM).await.unwrap(), "it is at 7");
        sinks.release("stream", owner(1)).await.unwrap();

        assert_eq!(sinks.lease("stream", owner(2), TERM).await.unwrap(), Some(7));
    }

    #[tokio::test]
    async fn an_owner_whose_time_is_over_is_replaced_and_saves_nothing_more() {
        let shop = PostgresShop::open().await;
        let sinks = PostgresSinkStore::new(shop.database().await);
        sinks.register("stream").await.unwrap();
        sinks.lease("stream", owner(1), TERM).await.unwrap();
        shop.execute("UPDATE event_sinks SET leased_until = leased_until - interval '6 min'").await;

        assert_eq!(sinks.lease("stream", owner(2), TERM).await.unwrap(), Some(0));

        assert!(!sinks.advance("stream", owner(1), (0, 7), TERM).await.unwrap());
        assert_eq!(sinks.lease("stream", owner(2), TERM).await.unwrap(), Some(0));
    }

    #[tokio::test]
    async fn a_new_sink_begins_at_the_end_and_a_known_one_where_it_was() {
        let shop = PostgresShop::open().await;
        let sinks = PostgresSinkStore::new(shop.database().await);
        sinks.register("stream").await.unwrap();
        shop.execute("UPDATE outbox_order SET last = 5").await;

        sinks.register("stream").await.unwrap();
        sinks.register("nats").await.unwrap();

        let mut pending = sinks.pending().await.unwrap();
        pending.sort();
        assert_eq!(pending, [("nats".to_owned(), 0), ("stream".to_owned(), 5)]);
    }
}
