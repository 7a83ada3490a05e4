//! What operators do with endpoints.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::rows::{DeadRow, TargetRow, WebhookRow};
use crate::application::ports::{
    DeadDelivery, MAX_WEBHOOKS, NewReplay, NewWebhook, PortError, Target, Webhook, WebhookChange,
    WebhookId, WebhookSecret, WebhookState, WebhookStore,
};
use crate::domain::time_text::rfc3339;
use crate::infrastructure::persistence::operation::record::OperatorRecord;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::pool::tx::{Options, Tx};

const WHAT: &str = "the webhooks";

/// In a serializable transaction: two that are added at the same time cannot both be the last one.
const ADD: &str = r"
    INSERT INTO webhooks (id, url, events, secret, position)
    SELECT $1, $2, $3, $4, $5
    WHERE (SELECT count(*) FROM webhooks) < $6
";

const LOCK: &str = "SELECT state FROM webhooks WHERE id = $1 FOR UPDATE";

const LIST: &str = r"
    SELECT w.id, w.url, w.events, w.state, w.reason, w.state_since, w.position, w.failures, w.failing_since,
        w.next_try_at, w.created_at,
        CASE WHEN w.previous_until > clock_timestamp() THEN w.previous_until END AS previous_until,
        (SELECT count(*) FROM webhook_deliveries AS d WHERE d.webhook_id = w.id AND NOT d.is_dead) AS retrying,
        (SELECT count(*) FROM webhook_deliveries AS d WHERE d.webhook_id = w.id AND d.is_dead) AS dead,
        (SELECT count(*) FROM webhook_replays AS r WHERE r.webhook_id = w.id) AS replays
    FROM webhooks AS w
    ORDER BY w.created_at, w.id
";

const PAUSE: &str = r"
    UPDATE webhooks
    SET state_since = CASE WHEN state = 'paused' THEN state_since ELSE clock_timestamp() END,
        state = 'paused',
        reason = 'paused by an operator'
    WHERE id = $1
";

const RESUME: &str = r"
    UPDATE webhooks
    SET state_since = CASE WHEN state = 'active' THEN state_since ELSE clock_timestamp() END,
        state = 'active',
        reason = NULL,
        failures = 0,
        failing_since = NULL,
        next_try_at = NULL,
        revision = revision + 1
    WHERE id = $1
";

const REMOVE: &str = "DELETE FROM webhooks WHERE id = $1";

const ROTATE: &str = r"
    UPDATE webhooks
    SET previous_secret = secret,
        previous_until = clock_timestamp() + make_interval(secs => $3),
        secret = $2
    WHERE id = $1
";

const TARGET: &str = r"
    SELECT url, secret, clock_timestamp() AS read_at,
        CASE WHEN previous_until > clock_timestamp() THEN previous_secret END AS previous_secret
    FROM webhooks
    WHERE id = $1
";

const DEAD: &str = r"
    SELECT event_id, kind, written_at, attempts, last_error, last_status
    FROM webhook_deliveries
    WHERE webhook_id = $1 AND is_dead
    ORDER BY number DESC
    LIMIT $2
";

const REVISE: &str = "UPDATE webhooks SET revision = revision + 1 WHERE id = $1";

const REPLAY: &str = r"
    INSERT INTO webhook_replays (webhook_id, position, last)
    SELECT $1, $2, $3
    WHERE $3 > $2
";

const PUT_BACK: &str = r"
    UPDATE webhook_deliveries
    SET is_dead = false, attempts = 0, next_try_at = clock_timestamp()
    WHERE webhook_id = $1 AND is_dead AND written_at >= $2 AND ($3::timestamptz IS NULL OR written_at < $3)
";

/// Stores endpoints.
pub(crate) struct PostgresWebhookStore {
    database: Database,
}

impl PostgresWebhookStore {
    /// Over this pool.
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }
}

#[async_trait]
impl WebhookStore for PostgresWebhookStore {
    async fn add(&self, webhook: &NewWebhook, actor: &str) -> Result<bool, PortError> {
        let added = self.database.transaction(Options::SERIALIZABLE, |mut tx: Tx| async move {
            let added = add(&mut tx, webhook, actor);
            let added = self.database.time(Statement::Webhooks, added).await?;
            Ok((tx, added))
        });
        added.await.map_err(|error| error.into_port_error(WHAT))
    }

    async fn list(&self) -> Result<Vec<Webhook>, PortError> {
        let query = || sqlx::query_as(LIST).fetch_all(self.database.pool());
        let rows: Vec<WebhookRow> = self.database.read(WHAT, query).await?;
        let webhooks: Result<Vec<_>, _> = rows.into_iter().map(WebhookRow::into_webhook).collect();
        webhooks.map_err(|error| error.into_port_error(WHAT))
    }

    async fn change(
        &self,
        id: &WebhookId,
        change: WebhookChange,
        actor: &str,
    ) -> Result<bool, PortError> {
        let changed = self.database.transaction(Options::RETRIED, |mut tx: Tx| async move {
            let changed = change_state(&mut tx, id, change, actor);
            let changed = self.database.time(Statement::Webhooks, changed).await?;
            Ok((tx, changed))
        });
        changed.await.map_err(|error| error.into_port_error(WHAT))
    }

    async fn rotate(
        &self,
        id: &WebhookId,
        secret: &WebhookSecret,
        overlap: Duration,
        actor: &str,
    ) -> Result<bool, PortError> {
        let rotated = self.database.transaction(Options::RETRIED, |mut tx: Tx| async move {
            let rotated = rotate(&mut tx, id, (secret, overlap), actor);
            let rotated = self.database.time(Statement::Webhooks, rotated).await?;
            Ok((tx, rotated))
        });
        rotated.await.map_err(|error| error.into_port_error(WHAT))
    }

    async fn target(&self, id: &WebhookId) -> Result<Option<Target>, PortError> {
        let query =
            || sqlx::query_as(TARGET).bind(id.as_str()).fetch_optional(self.database.pool());
        let row: Option<TargetRow> = self.database.read(WHAT, query).await?;
        Ok(row.map(TargetRow::into_target))
    }

    async fn dead(&self, id: &WebhookId, limit: u32) -> Result<Vec<DeadDelivery>, PortError> {
        let query = || {
            let query = sqlx::query_as(DEAD).bind(id.as_str()).bind(i64::from(limit));
            query.fetch_all(self.database.pool())
        };
        let rows: Vec<DeadRow> = self.database.read(WHAT, query).await?;
        let dead: Result<Vec<_>, _> = rows.into_iter().map(DeadRow::into_dead).collect();
        dead.map_err(|error| error.into_port_error(WHAT))
    }

    async fn replay(
        &self,
        id: &WebhookId,
        replay: &NewReplay,
        actor: &str,
    ) -> Result<Option<u64>, PortError> {
        let NewReplay { since, until, position, last } = *replay;
        let asked = self.database.transaction(Options::RETRIED, |mut tx: Tx| async move {
            // First, and so with the endpoint's row locked: a delivery that is running stores nothing meanwhile.
            let revise = sqlx::query(REVISE).bind(id.as_str()).execute(&mut *tx);
            let found = self.database.time(Statement::Webhooks, revise).await?.rows_affected();
            if found == 0 {
                return Ok((tx, None));
            }
            let add = sqlx::query(REPLAY).bind(id.as_str()).bind(position).bind(last);
            self.database.time(Statement::Webhooks, add.execute(&mut *tx)).await?;
            let put_back = sqlx::query(PUT_BACK).bind(id.as_str()).bind(since).bind(until);
            let put_back = put_back.execute(&mut *tx);
            let put_back = self.database.time(Statement::Webhooks, put_back).await?;
            let record = OperatorRecord {
                action: "webhook_replayed",
                actor,
                subject: subject(id),
                before: Value::Null,
                after: json!({
                    "since": rfc3339(since),
                    "until": until.map(rfc3339),
                    "put_back": put_back.rows_affected(),
                }),
            };
            self.database.time(Statement::Webhooks, record.write(&mut tx)).await?;
            Ok((tx, Some(put_back.rows_affected())))
        });
        asked.await.map_err(|error| error.into_port_error(WHAT))
    }
}

async fn add(
    connection: &mut PgConnection,
    webhook: &NewWebhook,
    actor: &str,
) -> Result<bool, sqlx::Error> {
    let events: Vec<_> = webhook.events.iter().map(|kind| kind.short_name()).collect();
    let added = sqlx::query(ADD)
        .bind(webhook.id.as_str())
        .bind(&webhook.url)
        .bind(&events)
        .bind(webhook.secret.reveal())
        .bind(webhook.position)
        .bind(i64::try_from(MAX_WEBHOOKS).unwrap_or(i64::MAX))
        .execute(&mut *connection)
        .await?;
    if added.rows_affected() == 0 {
        return Ok(false);
    }
    let record = OperatorRecord {
        action: "webhook_added",
        actor,
        subject: subject(&webhook.id),
        before: Value::Null,
        after: json!({ "url": webhook.url, "events": events }),
    };
    record.write(connection).await?;
    Ok(true)
}

async fn change_state(
    connection: &mut PgConnection,
    id: &WebhookId,
    change: WebhookChange,
    actor: &str,
) -> Result<bool, sqlx::Error> {
    let locked = sqlx::query_scalar(LOCK).bind(id.as_str());
    let before: Option<String> = locked.fetch_optional(&mut *connection).await?;
    let Some(before) = before else { return Ok(false) };
    let (statement, action, after) = match change {
        WebhookChange::Pause if before == WebhookState::Paused.as_str() => return Ok(true),
        WebhookChange::Pause => (PAUSE, "webhook_paused", Some(WebhookState::Paused)),
        WebhookChange::Resume => (RESUME, "webhook_resumed", Some(WebhookState::Active)),
        WebhookChange::Remove => (REMOVE, "webhook_removed", None),
    };
    sqlx::query(statement).bind(id.as_str()).execute(&mut *connection).await?;
    let record = OperatorRecord {
        action,
        actor,
        subject: subject(id),
        before: json!({ "state": before }),
        after: after.map_or(Value::Null, |state| json!({ "state": state.as_str() })),
    };
    record.write(connection).await?;
    Ok(true)
}

async fn rotate(
    connection: &mut PgConnection,
    id: &WebhookId,
    (secret, overlap): (&WebhookSecret, Duration),
    actor: &str,
) -> Result<bool, sqlx::Error> {
    let rotated = sqlx::query(ROTATE)
        .bind(id.as_str())
        .bind(secret.reveal())
        .bind(overlap.as_secs_f64())
        .execute(&mut *connection)
        .await?;
    if rotated.rows_affected() == 0 {
        return Ok(false);
    }
    let record = OperatorRecord {
        action: "webhook_secret_rotated",
        actor,
        subject: subject(id),
        before: Value::Null,
        after: Value::Null,
    };
    record.write(connection).await?;
    Ok(true)
}

/// An endpoint in the audit.
fn subject(id: &WebhookId) -> String {
    format!("webhook {id}")
}
