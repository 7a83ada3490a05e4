//! The entries of a buyer's story, in the order of their keys.
//!
//! A buyer's attempts are those that were purchased, which have an index by buyer, and the open one of each sale: there are no others
//! (`flash-sale verify` checks it). Refusals have an index by buyer too, and those that name only a code one by attempt.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::postgres::PgArguments;
use sqlx::query::QueryAs;

use super::refusals::{RefusalRow, refusal_columns};
use crate::application::ports::{
    BoughtLine, Cursor, CursorPage, Happened, StoryEntry, StoryFilter, StoryKey,
};
use crate::domain::ids::{AttemptId, BuyerId, ItemId, Quantity, SaleId};
use crate::infrastructure::persistence::purchase::outcomes::line_outcome;
use crate::infrastructure::persistence::row::from_row;

const BEGAN: i16 = 1;
const COLLECTED: i16 = 2;
const PURCHASED: i16 = 3;
const REFUSED: i16 = 4;
const CANCELLED: i16 = 5;

/// The buyer `$1`, in the sale `$2` if it is given.
macro_rules! mine {
    () => {
        r"
    WITH mine AS MATERIALIZED (
        SELECT sale_id, attempt_id, purchased_at
        FROM purchases
        WHERE user_id = $1 AND ($2::bigint IS NULL OR sale_id = $2)
        UNION ALL
        SELECT s.id, b.open_attempt, NULL
        FROM sales AS s
        CROSS JOIN LATERAL (
            SELECT open_attempt FROM buyers
            WHERE sale_id = s.id AND user_id = $1 AND open_attempt IS NOT NULL
            OFFSET 0
        ) AS b
        WHERE $2::bigint IS NULL OR s.id = $2
    )"
    };
}

/// All but refusals, behind the entry with the key `$3` to `$7`.
const EVENTS: &str = concat!(
    mine!(),
    r", event AS (
        SELECT a.created_at AS at, 1::smallint AS kind, m.sale_id, m.attempt_id AS first, 0::bigint AS second,
               NULL::int AS quantity, NULL::text AS actor
        FROM mine AS m
        CROSS JOIN LATERAL (
            SELECT created_at FROM checkout_attempts
            WHERE sale_id = m.sale_id AND id = m.attempt_id
            OFFSET 0
        ) AS a
        UNION ALL
        SELECT l.added_at, 2::smallint, m.sale_id, m.attempt_id, l.item_no::bigint, l.quantity, NULL
        FROM mine AS m
        CROSS JOIN LATERAL (
            SELECT item_no, quantity, added_at FROM checkout_items
            WHERE sale_id = m.sale_id AND attempt_id = m.attempt_id
            OFFSET 0
        ) AS l
        UNION ALL
        SELECT purchased_at, 3::smallint, sale_id, attempt_id, 0::bigint, NULL, NULL
        FROM mine
        WHERE purchased_at IS NOT NULL
        UNION ALL
        SELECT cancelled_at, 5::smallint, sale_id, attempt_id, item_no::bigint, quantity, actor
        FROM purchase_cancellations
        WHERE user_id = $1 AND ($2::bigint IS NULL OR sale_id = $2)
    )
    SELECT e.*, i.item_id
    FROM (
        SELECT * FROM event
        WHERE $3::timestamptz IS NULL OR (at, kind, sale_id, first, second) > ($3, $4, $5, $6, $7)
        ORDER BY at, kind, sale_id, first, second
        LIMIT $8
    ) AS e
    LEFT JOIN LATERAL (
        SELECT item_id FROM items
        WHERE sale_id = e.sale_id AND item_no = e.second
        OFFSET 0
    ) AS i ON e.kind IN (2, 5)
    ORDER BY at, kind, e.sale_id, first, second
"
);

/// The order of keys, in which the index by buyer leads.
const REFUSALS: &str = concat!(
    mine!(),
    r", refusal AS (
        (
            SELECT * FROM checkout_refusals
            WHERE user_id = $1 AND ($2::bigint IS NULL OR sale_id + 0 = $2)
              AND refused_at >= coalesce($3, '-infinity'::timestamptz)
              AND ($3::timestamptz IS NULL
                   OR (refused_at, 4::smallint, sale_id, hashtextextended(format('%s %s', instance, sequence), 0), position::bigint)
                      > ($3, $4, $5, $6, $7))
            ORDER BY refused_at, sale_id, hashtextextended(format('%s %s', instance, sequence), 0), position
            LIMIT $8
        )
        UNION ALL
        SELECT r.*
        FROM mine AS m
        CROSS JOIN LATERAL (
            SELECT * FROM checkout_refusals
            WHERE attempt_id = m.attempt_id AND user_id IS NULL AND sale_id + 0 = m.sale_id
              AND refused_at >= coalesce($3, '-infinity'::timestamptz)
            OFFSET 0
        ) AS r
    )
    SELECT ",
    refusal_columns!(),
    r"
    FROM refusal AS r
    WHERE $3::timestamptz IS NULL
       OR (r.refused_at, 4::smallint, r.sale_id, hashtextextended(format('%s %s', r.instance, r.sequence), 0), r.position::bigint)
          > ($3, $4, $5, $6, $7)
    ORDER BY refused_at, r.sale_id, first, second
    LIMIT $8
"
);

const BOUGHT: &str = r"
    SELECT t.attempt_id, i.item_id, l.quantity, l.outcome
    FROM unnest($1::bigint[], $2::bigint[]) AS t(sale_id, attempt_id)
    CROSS JOIN LATERAL (
        SELECT item_no, quantity, outcome FROM purchase_items
        WHERE sale_id = t.sale_id AND attempt_id = t.attempt_id
        ORDER BY item_no
        OFFSET 0
    ) AS l
    CROSS JOIN LATERAL (
        SELECT item_id FROM items WHERE sale_id = t.sale_id AND item_no = l.item_no OFFSET 0
    ) AS i
";

from_row! {
    #[derive(Debug)]
    struct EventRow {
        at: DateTime<Utc>,
        kind: i16,
        sale_id: i64,
        first: i64,
        second: i64,
        quantity: Option<i32>,
        actor: Option<String>,
        item_id: Option<String>,
    }
}

type Bought = HashMap<i64, Vec<BoughtLine>>;

impl EventRow {
    fn into_entry(self, bought: &mut Bought) -> Option<StoryEntry> {
        let attempt = AttemptId::new(self.first)?;
        let item = || ItemId::parse(self.item_id.as_deref()?).ok();
        let quantity = || Quantity::new(self.quantity?);
        let happened = match self.kind {
            BEGAN => Happened::Began(attempt),
            COLLECTED => Happened::Collected(attempt, item()?, quantity()?),
            PURCHASED => {
                Happened::Purchased(attempt, bought.remove(&self.first).unwrap_or_default())
            }
            CANCELLED => Happened::Cancelled(attempt, item()?, quantity()?, self.actor.clone()?),
            _ => return None,
        };
        let EventRow { at, kind, sale_id: sale, first, second, .. } = self;
        let key = StoryKey { at, kind, sale, first, second };
        Some(StoryEntry { key, sale: SaleId::new(sale)?, happened })
    }
}

/// A page of the story. The connection is in a snapshot.
pub(super) async fn read(
    connection: &mut PgConnection,
    buyer: &BuyerId,
    wanted: StoryFilter,
    after: Cursor<StoryKey>,
) -> Result<CursorPage<StoryEntry, StoryKey>, sqlx::Error> {
    let position = Position { buyer, wanted, after };
    let refusals: Vec<RefusalRow> =
        position.bind(sqlx::query_as(REFUSALS)).fetch_all(&mut *connection).await?;
    let mut entries: Vec<StoryEntry> = refusals.into_iter().filter_map(refused).collect();
    if !wanted.refusals_only {
        let events: Vec<EventRow> =
            position.bind(sqlx::query_as(EVENTS)).fetch_all(&mut *connection).await?;
        let mut bought = bought(connection, &events).await?;
        entries.extend(events.into_iter().filter_map(|event| event.into_entry(&mut bought)));
    }
    entries.sort_by_key(|entry| entry.key);
    Ok(CursorPage::cut(entries, after.limit, |entry| entry.key))
}

fn refused(row: RefusalRow) -> Option<StoryEntry> {
    let (at, sale) = (row.refused_at, row.sale_id);
    let key = StoryKey { at, kind: REFUSED, sale, first: row.first, second: row.second };
    Some(StoryEntry {
        key,
        sale: SaleId::new(sale)?,
        happened: Happened::Refused(row.into_record()?),
    })
}

/// Where a page begins.
#[derive(Clone, Copy)]
struct Position<'b> {
    buyer: &'b BuyerId,
    wanted: StoryFilter,
    after: Cursor<StoryKey>,
}

impl Position<'_> {
    /// One entry more than the page has shows whether there is a next one.
    fn bind<'q, R>(
        &self,
        query: QueryAs<'q, sqlx::Postgres, R, PgArguments>,
    ) -> QueryAs<'q, sqlx::Postgres, R, PgArguments> {
        let key = self.after.entry;
        query
            .bind(self.buyer.as_str().to_owned())
            .bind(self.wanted.sale.map(SaleId::get))
            .bind(key.map(|key| key.at))
            .bind(key.map(|key| key.kind))
            .bind(key.map(|key| key.sale))
            .bind(key.map(|key| key.first))
            .bind(key.map(|key| key.second))
            .bind(i64::from(self.after.limit) + 1)
    }
}

/// The lines of the purchases among these events, by attempt.
async fn bought(connection: &mut PgConnection, events: &[EventRow]) -> Result<Bought, sqlx::Error> {
    let purchases = || events.iter().filter(|event| event.kind == PURCHASED);
    let sales: Vec<i64> = purchases().map(|event| event.sale_id).collect();
    let attempts: Vec<i64> = purchases().map(|event| event.first).collect();
    let rows: Vec<(i64, String, i32, String)> =
        sqlx::query_as(BOUGHT).bind(sales).bind(attempts).fetch_all(connection).await?;
    let mut bought = Bought::new();
    for (attempt, item, quantity, outcome) in rows {
        let line = || {
            Some(BoughtLine {
                item: ItemId::parse(&item).ok()?,
                quantity: Quantity::new(quantity)?,
                outcome: line_outcome(&outcome)?,
            })
        };
        bought.entry(attempt).or_default().extend(line());
    }
    Ok(bought)
}
