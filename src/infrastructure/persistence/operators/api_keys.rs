//! API keys in PostgreSQL.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;

use crate::application::ports::{
    ApiKey, ApiKeyStore, Cursor, CursorPage, KeyExpiry, KeyPosition, KeysInUse, MAX_API_KEYS,
    NewApiKey, NewKeyRefusal, PortError, RevokedKey, StoredKey,
};
use crate::domain::api_key::{KeyId, KeyName, Scope, Scopes};
use crate::domain::time_text::rfc3339;
use crate::infrastructure::persistence::operation::record::OperatorRecord;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::pool::tx::{Options, Tx};
use crate::infrastructure::persistence::row::from_row;

const WHAT: &str = "the api keys";

macro_rules! columns {
    () => {
        "id, name, scopes, salt, hash, created_by, created_at, expires_at, revoked_at, last_used_at"
    };
}

/// What the API writes has four digits of a year.
const EXPIRY: &str = r"
    SELECT expires_at, expires_at IS NULL OR (expires_at > clock_timestamp() AND expires_at < '9999-12-31')
    FROM (SELECT coalesce($1::timestamptz, clock_timestamp() + make_interval(secs => $2::float8)) AS expires_at) AS new
";

/// In a serializable transaction: two that are added at the same time cannot both be the last one.
const ADD: &str = concat!(
    r"
    INSERT INTO api_keys (id, name, scopes, salt, hash, created_by, expires_at)
    SELECT $1, $2, $3, $4, $5, $6, $7
    WHERE (SELECT count(*) FROM api_keys WHERE revoked_at IS NULL) < $8
    RETURNING ",
    columns!()
);

const LOCK: &str = concat!("SELECT ", columns!(), " FROM api_keys WHERE id = $1 FOR UPDATE");

const REVOKE: &str = concat!(
    "UPDATE api_keys SET revoked_at = clock_timestamp() WHERE id = $1 RETURNING ",
    columns!()
);

const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    r"
    FROM api_keys
    WHERE $1::timestamptz IS NULL OR (created_at, id) < ($1, $2)
    ORDER BY created_at DESC, id DESC
    LIMIT $3
"
);

pub(crate) const IN_USE: &str =
    concat!("SELECT ", columns!(), " FROM api_keys WHERE revoked_at IS NULL");

/// A statement of its own, before the keys are read: what it says is not later than they are.
const NOW: &str = "SELECT clock_timestamp()";

pub(crate) const USED: &str = "UPDATE api_keys SET last_used_at = clock_timestamp() WHERE id = $1";

from_row! {
    struct KeyRow {
        id: String,
        name: String,
        scopes: Vec<String>,
        salt: Vec<u8>,
        hash: Vec<u8>,
        created_by: String,
        created_at: DateTime<Utc>,
        expires_at: Option<DateTime<Utc>>,
        revoked_at: Option<DateTime<Utc>>,
        last_used_at: Option<DateTime<Utc>>,
    }
}

/// Stores keys.
pub(crate) struct PostgresApiKeyStore {
    database: Database,
}

impl PostgresApiKeyStore {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }
}

#[async_trait]
impl ApiKeyStore for PostgresApiKeyStore {
    async fn add(
        &self,
        key: &NewApiKey,
        actor: &str,
    ) -> Result<Result<ApiKey, NewKeyRefusal>, PortError> {
        let added = self.database.transaction(Options::SERIALIZABLE, |mut tx: Tx| async move {
            let added = self.database.time(Statement::ApiKeys, add(&mut tx, key, actor)).await?;
            Ok((tx, added))
        });
        added.await.map_err(|error| error.into_port_error(WHAT))
    }

    async fn revoke(&self, id: KeyId, actor: &str) -> Result<Option<RevokedKey>, PortError> {
        let revoked = self.database.transaction(Options::RETRIED, |mut tx: Tx| async move {
            let revoked = revoke(&mut tx, id, actor);
            let revoked = self.database.time(Statement::ApiKeys, revoked).await?;
            Ok((tx, revoked))
        });
        revoked.await.map_err(|error| error.into_port_error(WHAT))
    }

    async fn list(
        &self,
        after: Cursor<KeyPosition>,
    ) -> Result<CursorPage<ApiKey, KeyPosition>, PortError> {
        let query = || {
            sqlx::query_as(LIST)
                .bind(after.entry.map(|entry| entry.created_at))
                .bind(after.entry.map(|entry| entry.id.to_string()))
                .bind(i64::from(after.limit) + 1)
                .fetch_all(self.database.pool())
        };
        let rows: Vec<KeyRow> = self.database.read(WHAT, query).await?;
        let keys: Result<Vec<_>, _> =
            rows.into_iter().map(|row| row.stored().map(|stored| stored.key)).collect();
        let keys = keys.map_err(|error| error.into_port_error(WHAT))?;
        Ok(CursorPage::cut(keys, after.limit, KeyPosition::of))
    }

    async fn in_use(&self) -> Result<KeysInUse, PortError> {
        let query = || async {
            let mut connection = self.database.pool().acquire().await?;
            let now: DateTime<Utc> = sqlx::query_scalar(NOW).fetch_one(&mut *connection).await?;
            let rows: Vec<KeyRow> = sqlx::query_as(IN_USE).fetch_all(&mut *connection).await?;
            Ok((now, rows))
        };
        let (as_of, rows) = self.database.read_as(Statement::ApiKeys, WHAT, query).await?;
        let keys: Result<Vec<_>, _> = rows.into_iter().map(KeyRow::stored).collect();
        Ok(KeysInUse { as_of, keys: keys.map_err(|error| error.into_port_error(WHAT))? })
    }

    async fn used(&self, id: KeyId) -> Result<(), PortError> {
        let used = self.database.transaction(Options::RETRIED, |mut tx: Tx| async move {
            let used = sqlx::query(USED).bind(id.to_string()).execute(&mut *tx);
            self.database.time(Statement::ApiKeys, used).await?;
            Ok((tx, ()))
        });
        used.await.map_err(|error| error.into_port_error(WHAT))
    }
}

async fn add(
    connection: &mut PgConnection,
    key: &NewApiKey,
    actor: &str,
) -> Result<Result<ApiKey, NewKeyRefusal>, sqlx::Error> {
    let (at, after) = match key.expiry {
        KeyExpiry::Never => (None, None),
        KeyExpiry::At(moment) => (Some(moment), None),
        KeyExpiry::After(time) => (None, Some(time.as_secs_f64())),
    };
    let (expires_at, is_ahead): (Option<DateTime<Utc>>, bool) =
        sqlx::query_as(EXPIRY).bind(at).bind(after).fetch_one(&mut *connection).await?;
    if !is_ahead {
        return Ok(Err(NewKeyRefusal::Expired));
    }
    let scopes = key.scopes.names();
    let row: Option<KeyRow> = sqlx::query_as(ADD)
        .bind(key.id.to_string())
        .bind(key.name.as_str())
        .bind(&scopes)
        .bind(key.salt.as_slice())
        .bind(key.hash.as_slice())
        .bind(actor)
        .bind(expires_at)
        .bind(i64::try_from(MAX_API_KEYS).unwrap_or(i64::MAX))
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = row else { return Ok(Err(NewKeyRefusal::TooMany)) };
    let record = OperatorRecord {
        action: "key_created",
        actor,
        subject: key.id.to_string(),
        before: json!(null),
        after: json!({
            "name": key.name.as_str(),
            "scopes": scopes,
            "expires_at": row.expires_at.map(rfc3339),
        }),
    };
    record.write(connection).await?;
    Ok(Ok(readable(row)?.key))
}

async fn revoke(
    connection: &mut PgConnection,
    id: KeyId,
    actor: &str,
) -> Result<Option<RevokedKey>, sqlx::Error> {
    let locked = sqlx::query_as(LOCK).bind(id.to_string());
    let locked: Option<KeyRow> = locked.fetch_optional(&mut *connection).await?;
    let Some(row) = locked else { return Ok(None) };
    if row.revoked_at.is_some() {
        return Ok(Some(RevokedKey { key: readable(row)?.key, is_changed: false }));
    }
    let revoked: KeyRow =
        sqlx::query_as(REVOKE).bind(id.to_string()).fetch_one(&mut *connection).await?;
    let state = |revoked_at: Option<DateTime<Utc>>| json!({ "name": row.name, "revoked_at": revoked_at.map(rfc3339) });
    let record = OperatorRecord {
        action: "key_revoked",
        actor,
        subject: id.to_string(),
        before: state(None),
        after: state(revoked.revoked_at),
    };
    record.write(connection).await?;
    Ok(Some(RevokedKey { key: readable(revoked)?.key, is_changed: true }))
}

fn readable(row: KeyRow) -> Result<StoredKey, sqlx::Error> {
    row.stored().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

impl KeyRow {
    /// The key; an error for a row that no version of this service writes.
    fn stored(self) -> Result<StoredKey, DatabaseError> {
        let unreadable = || DatabaseError::Unreadable("api_keys");
        // Scopes that a later version has added are left out: this one has nothing that they would allow.
        let scopes = self.scopes.iter().filter_map(|name| Scope::parse(name));
        let key = ApiKey {
            id: KeyId::parse(&self.id).ok_or_else(unreadable)?,
            name: KeyName::parse(&self.name).map_err(|_| unreadable())?,
            scopes: Scopes::new(scopes).ok_or_else(unreadable)?,
            created_by: self.created_by,
            created_at: self.created_at,
            expires_at: self.expires_at,
            revoked_at: self.revoked_at,
            last_used_at: self.last_used_at,
        };
        let salt = self.salt.try_into().map_err(|_| unreadable())?;
        let hash = self.hash.try_into().map_err(|_| unreadable())?;
        Ok(StoredKey { key, salt, hash })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::testing::servers::PostgresShop;

    /// The key with this number.
    fn key(number: u8) -> NewApiKey {
        NewApiKey {
            id: KeyId::new([number; _]),
            name: KeyName::parse("till").unwrap(),
            scopes: Scopes::new([Scope::Read]).unwrap(),
            expiry: KeyExpiry::Never,
            salt: [number; _],
            hash: [number; _],
        }
    }

    #[tokio::test]
    async fn of_keys_that_are_added_at_the_same_time_only_as_many_are_added_as_there_may_be() {
        let shop = PostgresShop::open().await;
        let store = PostgresApiKeyStore::new(shop.database().await);
        store.add(&key(0), "ann").await.unwrap().unwrap();
        // Room for three more.
        let fill = "INSERT INTO api_keys (id, name, scopes, salt, hash, created_by)
                    SELECT 'key_' || n, name, scopes, salt, hash, created_by
                    FROM api_keys, generate_series(1, 996) AS n";
        shop.execute(fill).await;

        let keys: Vec<_> = (1..=8).map(key).collect();
        let added = join_all(keys.iter().map(|key| store.add(key, "ann"))).await;

        let added = added.into_iter().filter(|added| added.as_ref().unwrap().is_ok());
        assert_eq!(added.count(), 3);
    }
}
