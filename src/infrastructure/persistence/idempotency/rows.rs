//! Idempotency keys within the transactions that execute the requests.
//!
//! While a buyer's row is locked, no other transaction can write a key of that buyer in the same sale, so a key that is not found then
//! is unused. Across sales the primary key decides.

use std::collections::{BTreeMap, HashSet};

use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use crate::application::ports::{Effect, KeyedRequest};
use crate::domain::ids::{AttemptId, BuyerId, SaleId};
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;

/// A key to store, with the effect of its request.
pub(crate) struct KeyRow<'a> {
    pub(crate) buyer: &'a BuyerId,
    pub(crate) key: &'a KeyedRequest,
    pub(crate) sale: SaleId,
    pub(crate) attempt: AttemptId,
    pub(crate) effect: Effect,
}

pub(crate) const USED: &str = r"
    SELECT t.place
    FROM unnest($1::text[], $2::text[], $3::bigint[]) AS t(user_id, key, place)
    CROSS JOIN LATERAL (
        SELECT 1 FROM idempotency_keys
        WHERE user_id = t.user_id AND key = t.key
        OFFSET 0
    ) AS k
";

/// Inserts in the order of the primary key, so that no two transactions deadlock. The lines of all rows are in one pair of arrays, of
/// which each row has a slice.
pub(crate) const INSERT: &str = r"
    INSERT INTO idempotency_keys
        (user_id, key, content, sale_id, attempt_id, created, item_nos, quantities)
    SELECT t.user_id, t.key, t.content, $4, t.attempt_id, t.created,
           CASE WHEN t.has_lines THEN $9[t.first : t.last] END,
           CASE WHEN t.has_lines THEN $10[t.first : t.last] END
    FROM unnest($1::text[], $2::text[], $3::bytea[], $5::bigint[], $6::boolean[], $7::int[], $8::int[],
                $11::boolean[])
        AS t(user_id, key, content, attempt_id, created, first, last, has_lines)
";

/// The hash of a request's content, which is stored in its place.
pub(crate) fn digest(content: &str) -> Vec<u8> {
    Sha256::digest(content).to_vec()
}

/// The indexes of requests whose keys were used before, also by an earlier request of the same batch.
pub(crate) async fn used<'a>(
    database: &Database,
    connection: &mut PgConnection,
    keys: impl Iterator<Item = Option<(&'a BuyerId, &'a KeyedRequest)>>,
) -> Result<HashSet<usize>, DatabaseError> {
    let (mut first, mut used) = (BTreeMap::new(), HashSet::new());
    for (index, key) in keys.enumerate() {
        let Some((buyer, request)) = key else {
            continue;
        };
        if first.insert((buyer.as_str(), request.key.as_str()), index).is_some() {
            used.insert(index);
        }
    }
    if first.is_empty() {
        return Ok(used);
    }
    let (users, keys): (Vec<&str>, Vec<&str>) = first.keys().copied().unzip();
    let indexes: Vec<i64> =
        first.values().map(|index| i64::try_from(*index).unwrap_or(-1)).collect();
    let query = sqlx::query_scalar::<_, i64>(USED).bind(users).bind(keys).bind(indexes);
    let found = database.time(Statement::ReadKeys, query.fetch_all(connection)).await?;
    used.extend(found.into_iter().filter_map(|index| usize::try_from(index).ok()));
    Ok(used)
}

/// Stores keys with the effects of their requests.
pub(crate) async fn insert<'a>(
    database: &Database,
    connection: &mut PgConnection,
    rows: impl Iterator<Item = KeyRow<'a>>,
) -> Result<(), DatabaseError> {
    let mut rows: Vec<KeyRow<'_>> = rows.collect();
    let Some(sale) = rows.first().map(|row| row.sale) else {
        return Ok(());
    };
    rows.sort_by(|one, other| (one.buyer, &one.key.key).cmp(&(other.buyer, &other.key.key)));
    let columns = Columns::of(&rows);
    let query = sqlx::query(INSERT)
        .bind(columns.users)
        .bind(columns.keys)
        .bind(columns.contents)
        .bind(sale.get())
        .bind(columns.attempts)
        .bind(columns.created)
        .bind(columns.firsts)
        .bind(columns.lasts)
        .bind(columns.items)
        .bind(columns.quantities)
        .bind(columns.has_lines);
    database.time(Statement::WriteKeys, query.execute(connection)).await?;
    Ok(())
}

#[derive(Default)]
struct Columns<'a> {
    users: Vec<&'a str>,
    keys: Vec<&'a str>,
    contents: Vec<Vec<u8>>,
    attempts: Vec<i64>,
    created: Vec<bool>,
    /// Bounds of a row's slice of the lines, counted from 1, both inclusive.
    firsts: Vec<i32>,
    lasts: Vec<i32>,
    has_lines: Vec<bool>,
    items: Vec<i32>,
    quantities: Vec<i32>,
}

impl<'a> Columns<'a> {
    fn of(rows: &[KeyRow<'a>]) -> Self {
        let mut columns = Self::default();
        for row in rows {
            columns.users.push(row.buyer.as_str());
            columns.keys.push(row.key.key.as_str());
            columns.contents.push(digest(&row.key.content));
            columns.attempts.push(row.attempt.get());
            columns.firsts.push(columns.count() + 1);
            let (created, lines) = match &row.effect {
                Effect::Changed { created, lines } => (*created, Some(lines)),
                Effect::Purchased => (false, None),
            };
            columns.created.push(created);
            columns.has_lines.push(lines.is_some());
            for line in lines.into_iter().flatten() {
                columns.items.push(line.item.0);
                columns.quantities.push(line.quantity.get());
            }
            columns.lasts.push(columns.count());
        }
        columns
    }

    fn count(&self) -> i32 {
        i32::try_from(self.items.len()).unwrap_or(i32::MAX)
    }
}
