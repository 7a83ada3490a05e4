//! Leases of endpoints, and what deliveries store.

use std::time::Duration;

use async_trait::async_trait;

use super::rows::{LeasedRow, WaitingRow};
use crate::application::ports::{
    DeliveryStore, EventKind, Leased, MAX_HELD, PortError, Progress, Waiting, WebhookId,
    WebhookOverview,
};
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::row::from_row;

const WHAT: &str = "the deliveries of webhooks";
/// Events that wait beyond [`MAX_HELD`]: those of the window that was open when it was reached.
const HELD_MARGIN: usize = 20_000;

/// A lease that has still four fifths of its term is not written again. An endpoint that wants kinds which only a later release has is
/// left to that: this one would pass their events over.
pub(crate) const TAKE: &str = r"
    UPDATE webhooks
    SET lease_owner = $1,
        lease_until = clock_timestamp() + make_interval(secs => $2)
    WHERE state = 'active' AND events <@ $3::text[]
      AND (lease_until < clock_timestamp()
           OR (lease_owner = $1 AND lease_until < clock_timestamp() + make_interval(secs => $2 * 0.8)))
";

pub(crate) const LEASED: &str = r"
    SELECT w.id, w.url, w.events, w.secret, w.position, w.failures, w.revision, clock_timestamp() AS read_at,
        CASE WHEN w.previous_until > clock_timestamp() THEN w.previous_secret END AS previous_secret,
        greatest(0, coalesce(extract(epoch FROM clock_timestamp() - w.failing_since), 0))::float8 AS failing_for,
        greatest(0, coalesce(extract(epoch FROM w.next_try_at - clock_timestamp()), 0))::float8 AS next_try_in,
        r.id AS replay_id, r.position AS replay_position, r.last AS replay_last
    FROM webhooks AS w
    LEFT JOIN LATERAL (
        SELECT id, position, last FROM webhook_replays WHERE webhook_id = w.id ORDER BY id LIMIT 1
    ) AS r ON true
    WHERE w.state = 'active' AND w.lease_owner = $1 AND w.lease_until > clock_timestamp()
";

const RELEASE: &str = r"
    UPDATE webhooks SET lease_until = '-infinity' WHERE id = $1 AND lease_owner = $2
";

/// Everything in one statement, which does nothing without the lease.
const SAVE: &str = r"
    WITH owned AS (
        UPDATE webhooks
        SET position = greatest(position, $3),
            failures = $4,
            failing_since = CASE WHEN $4 > 0 THEN coalesce(failing_since, clock_timestamp()) END,
            next_try_at = CASE WHEN $4 > 0 THEN clock_timestamp() + make_interval(secs => $5) END
        WHERE id = $1 AND lease_owner = $2 AND lease_until > clock_timestamp()
        RETURNING id
    ), delivered AS (
        DELETE FROM webhook_deliveries AS d
        USING owned
        WHERE d.webhook_id = owned.id AND d.event_id = ANY ($6)
    ), retried AS (
        UPDATE webhook_deliveries AS d
        SET attempts = t.attempts,
            is_dead = t.pause IS NULL,
            next_try_at = clock_timestamp() + make_interval(secs => coalesce(t.pause, 0)),
            last_error = t.error,
            last_status = t.status
        FROM owned, unnest($7::text[], $8::int[], $9::float8[], $10::text[], $11::int[])
            AS t(event_id, attempts, pause, error, status)
        WHERE d.webhook_id = owned.id AND d.event_id = t.event_id
    ), set_aside AS (
        INSERT INTO webhook_deliveries (webhook_id, event_id, order_key, kind, body, happened_at, written_at, attempts,
            next_try_at, last_error, last_status)
        SELECT owned.id, t.event_id, t.order_key, t.kind, t.body, t.happened_at, t.written_at, t.attempts,
            clock_timestamp() + make_interval(secs => t.pause), t.error, t.status
        FROM owned, unnest($12::text[], $13::text[], $14::text[], $15::bytea[], $16::timestamptz[], $17::timestamptz[],
            $18::int[], $19::float8[], $20::text[], $21::int[]) WITH ORDINALITY
            AS t(event_id, order_key, kind, body, happened_at, written_at, attempts, pause, error, status, place)
        ORDER BY t.place
        ON CONFLICT ON CONSTRAINT webhook_deliveries_pkey DO UPDATE
        SET is_dead = false,
            attempts = excluded.attempts,
            next_try_at = excluded.next_try_at,
            last_error = excluded.last_error,
            last_status = excluded.last_status
        WHERE webhook_deliveries.is_dead
    ), replayed AS (
        UPDATE webhook_replays AS r
        SET position = $23
        FROM owned
        WHERE r.id = $22 AND r.webhook_id = owned.id AND $23 < $24
    ), finished AS (
        DELETE FROM webhook_replays AS r
        USING owned
        WHERE r.id = $22 AND r.webhook_id = owned.id AND $23 >= $24
    )
    SELECT count(*) FROM owned
";

pub(crate) const HELD: &str = r"
    SELECT order_key, event_id
    FROM webhook_deliveries
    WHERE webhook_id = $1 AND NOT is_dead
    LIMIT $2
";

pub(crate) const DUE: &str = r"
    SELECT event_id, order_key, kind, body, happened_at, written_at, attempts
    FROM (
        SELECT DISTINCT ON (order_key) *
        FROM webhook_deliveries
        WHERE webhook_id = $1 AND NOT is_dead
        ORDER BY order_key, number
    ) AS first
    WHERE $3 OR next_try_at <= clock_timestamp()
    ORDER BY number
    LIMIT $2
";

const DISABLE: &str = r"
    UPDATE webhooks
    SET state = 'disabled', reason = $3, state_since = clock_timestamp()
    WHERE id = $1 AND lease_owner = $2 AND lease_until > clock_timestamp() AND state = 'active'
";

const OVERVIEW: &str = r"
    SELECT count(*) FILTER (WHERE state = 'active') AS active,
        count(*) FILTER (WHERE state = 'paused') AS paused,
        count(*) FILTER (WHERE state = 'disabled') AS disabled,
        count(*) FILTER (WHERE state = 'active' AND failures > 0) AS failing,
        (SELECT count(*) FROM webhook_deliveries WHERE is_dead) AS dead
    FROM webhooks
";

from_row! {
    struct OverviewRow {
        active: i64,
        paused: i64,
        disabled: i64,
        failing: i64,
        dead: i64,
    }
}

/// Leases endpoints, and stores what deliveries achieve.
pub(crate) struct PostgresDeliveryStore {
    database: Database,
}

impl PostgresDeliveryStore {
    /// Over this pool.
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }

    /// Runs a statement in its own transaction.
    async fn run<T>(
        &self,
        run: impl Future<Output = Result<T, DatabaseError>> + Send,
    ) -> Result<T, PortError> {
        let done = self.database.within(self.database.answer_timeout(), run).await;
        done.map_err(|error| error.into_port_error(WHAT))
    }

    async fn execute(
        &self,
        statement: sqlx::query::Query<'_, sqlx::Postgres, sqlx::postgres::PgArguments>,
    ) -> Result<u64, PortError> {
        let executed = self.run(async {
            let mut connection = self.database.acquire().await?;
            let statement = statement.execute(&mut *connection);
            self.database.time(Statement::Webhooks, statement).await
        });
        Ok(executed.await?.rows_affected())
    }
}

#[async_trait]
impl DeliveryStore for PostgresDeliveryStore {
    async fn lease(&self, owner: &str, term: Duration) -> Result<Vec<Leased>, PortError> {
        let kinds = EventKind::ALL.map(EventKind::short_name);
        let take = sqlx::query(TAKE).bind(owner).bind(term.as_secs_f64()).bind(&kinds[..]);
        self.execute(take).await?;
        let query = || sqlx::query_as(LEASED).bind(owner).fetch_all(self.database.pool());
        let rows: Vec<LeasedRow> = self.database.read_as(Statement::Webhooks, WHAT, query).await?;
        Ok(rows.into_iter().map(LeasedRow::into_leased).collect())
    }

    async fn release(&self, id: &WebhookId, owner: &str) -> Result<(), PortError> {
        self.execute(sqlx::query(RELEASE).bind(id.as_str()).bind(owner)).await.map(drop)
    }

    async fn save(
        &self,
        id: &WebhookId,
        owner: &str,
        progress: &Progress,
    ) -> Result<bool, PortError> {
        let saved = self.run(async {
            let mut connection = self.database.acquire().await?;
            let save = save(id, owner, progress).fetch_one(&mut *connection);
            let row = self.database.time(Statement::Webhooks, save).await?;
            Ok(sqlx::Row::try_get::<i64, _>(&row, 0)?)
        });
        Ok(saved.await? > 0)
    }

    async fn held(&self, id: &WebhookId) -> Result<Vec<(String, String)>, PortError> {
        let most = i64::try_from(MAX_HELD + HELD_MARGIN).unwrap_or(i64::MAX);
        let query =
            || sqlx::query_as(HELD).bind(id.as_str()).bind(most).fetch_all(self.database.pool());
        self.database.read_as(Statement::Webhooks, WHAT, query).await
    }

    async fn due(
        &self,
        id: &WebhookId,
        limit: u32,
        anyway: bool,
    ) -> Result<Vec<Waiting>, PortError> {
        let query = || {
            let query = sqlx::query_as(DUE).bind(id.as_str()).bind(i64::from(limit)).bind(anyway);
            query.fetch_all(self.database.pool())
        };
        let rows: Vec<WaitingRow> = self.database.read_as(Statement::Webhooks, WHAT, query).await?;
        let due: Result<Vec<_>, _> = rows.into_iter().map(WaitingRow::into_waiting).collect();
        due.map_err(|error| error.into_port_error(WHAT))
    }

    async fn disable(&self, id: &WebhookId, owner: &str, reason: &str) -> Result<bool, PortError> {
        let disable = sqlx::query(DISABLE).bind(id.as_str()).bind(owner).bind(reason);
        Ok(self.execute(disable).await? > 0)
    }

    async fn overview(&self) -> Result<WebhookOverview, PortError> {
        let query = || sqlx::query_as(OVERVIEW).fetch_one(self.database.pool());
        let row: OverviewRow = self.database.read_as(Statement::Webhooks, WHAT, query).await?;
        Ok(WebhookOverview {
            states: [row.active, row.paused, row.disabled],
            failing: row.failing,
            dead: row.dead,
        })
    }
}

fn save<'p>(
    id: &'p WebhookId,
    owner: &'p str,
    progress: &'p Progress,
) -> sqlx::query::Query<'p, sqlx::Postgres, sqlx::postgres::PgArguments> {
    let Progress { position, replay, set_aside, delivered, retried, outage } = progress;
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let status = |status: Option<u16>| status.map(i32::from);
    let aside = || set_aside.iter();
    let event = || aside().map(|one| &one.waiting.event);
    sqlx::query(SAVE)
        .bind(id.as_str())
        .bind(owner)
        .bind(position)
        .bind(number(outage.failures))
        .bind(outage.next_try_in.as_secs_f64())
        .bind(delivered)
        .bind(retried.iter().map(|one| one.event_id.as_str()).collect::<Vec<_>>())
        .bind(retried.iter().map(|one| number(one.attempts)).collect::<Vec<_>>())
        .bind(
            retried
                .iter()
                .map(|one| one.next_try_in.map(|pause| pause.as_secs_f64()))
                .collect::<Vec<_>>(),
        )
        .bind(retried.iter().map(|one| one.failure.error.as_str()).collect::<Vec<_>>())
        .bind(retried.iter().map(|one| status(one.failure.status)).collect::<Vec<_>>())
        .bind(event().map(|event| event.id.as_str()).collect::<Vec<_>>())
        .bind(event().map(|event| event.order_key.as_str()).collect::<Vec<_>>())
        .bind(event().map(|event| event.kind.short_name()).collect::<Vec<_>>())
        .bind(event().map(|event| event.body.as_ref()).collect::<Vec<_>>())
        .bind(event().map(|event| event.time).collect::<Vec<_>>())
        .bind(aside().map(|one| one.waiting.written_at).collect::<Vec<_>>())
        .bind(aside().map(|one| number(one.waiting.attempts)).collect::<Vec<_>>())
        .bind(aside().map(|one| one.next_try_in.as_secs_f64()).collect::<Vec<_>>())
        .bind(aside().map(|one| one.failure.error.as_str()).collect::<Vec<_>>())
        .bind(aside().map(|one| status(one.failure.status)).collect::<Vec<_>>())
        .bind(replay.map(|replay| replay.id))
        .bind(replay.map(|replay| replay.position))
        .bind(replay.map(|replay| replay.last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::contracts::webhook_store::webhook_store_contract;
    use crate::testing::servers::PostgresShop;

    webhook_store_contract!(PostgresShop::open().await);

    #[tokio::test]
    async fn an_endpoint_for_kinds_of_a_later_release_is_left_to_it() {
        let shop = PostgresShop::open().await;
        shop.execute(
            "INSERT INTO webhooks (id, url, secret, position, events)
             VALUES ('all', 'http://a', 'whsec_a', 0, '{}'), ('known', 'http://b', 'whsec_b', 0, '{sale.ended}'),
                 ('later', 'http://c', 'whsec_c', 0, '{sale.ended,sale.cloned}')",
        )
        .await;
        let store = PostgresDeliveryStore::new(shop.database().await);

        let leased = store.lease("me", Duration::from_mins(1)).await.unwrap();

        let mut ids: Vec<&str> = leased.iter().map(|leased| leased.id.as_str()).collect();
        ids.sort_unstable();
        assert_eq!(ids, ["all", "known"]);
    }
}
