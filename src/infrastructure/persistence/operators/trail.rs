//! The audit, read from PostgreSQL.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::application::ports::{
    AuditEntry, AuditFilter, AuditKey, AuditTrail, Cursor, CursorPage, PortError,
};
use crate::domain::ids::SaleId;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::row::from_row;

/// Reads one entry more than the page has, which shows whether there is a next one. Rows of creations have `detail` alone. Changes
/// that belong to no sale have a table of their own.
const LIST: &str = r"
    (
        SELECT id, at, actor, action, sale_id, subject, before::text AS before,
               coalesce(after, nullif(detail, '{}'))::text AS after
        FROM sale_audit
        WHERE ($1::timestamptz IS NULL OR at >= $1)
          AND ($2::bigint IS NULL OR sale_id = $2)
          AND ($3::timestamptz IS NULL OR (at, id) < ($3, $4))
        ORDER BY at DESC, id DESC
        LIMIT $5
    )
    UNION ALL
    (
        SELECT id, at, actor, action, NULL, subject, before::text, after::text
        FROM operator_audit
        WHERE ($1::timestamptz IS NULL OR at >= $1)
          AND $2::bigint IS NULL
          AND ($3::timestamptz IS NULL OR (at, id) < ($3, $4))
        ORDER BY at DESC, id DESC
        LIMIT $5
    )
    ORDER BY at DESC, id DESC
    LIMIT $5
";

from_row! {
    #[derive(Debug)]
    struct EntryRow {
        id: i64,
        at: DateTime<Utc>,
        actor: String,
        action: String,
        sale_id: Option<i64>,
        subject: Option<String>,
        before: Option<String>,
        after: Option<String>,
    }
}

/// Reads the audit.
pub(crate) struct PostgresAuditTrail {
    database: Database,
}

impl PostgresAuditTrail {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }
}

#[async_trait]
impl AuditTrail for PostgresAuditTrail {
    async fn list(
        &self,
        wanted: AuditFilter,
        after: Cursor<AuditKey>,
    ) -> Result<CursorPage<AuditEntry, AuditKey>, PortError> {
        let what = "the audit";
        let query = || {
            sqlx::query_as(LIST)
                .bind(wanted.since)
                .bind(wanted.sale.map(SaleId::get))
                .bind(after.entry.map(|entry| entry.at))
                .bind(after.entry.map(|entry| entry.id))
                .bind(i64::from(after.limit) + 1)
                .fetch_all(self.database.pool())
        };
        let rows: Vec<EntryRow> = self.database.read(what, query).await?;
        let entries: Option<Vec<_>> = rows.into_iter().map(entry).collect();
        let unreadable = || DatabaseError::Unreadable("sale_audit").into_port_error(what);
        Ok(CursorPage::cut(entries.ok_or_else(unreadable)?, after.limit, AuditKey::of))
    }
}

fn entry(row: EntryRow) -> Option<AuditEntry> {
    let EntryRow { id, at, actor, action, sale_id, subject, before, after } = row;
    let sale = match sale_id {
        Some(number) => Some(SaleId::new(number)?),
        None => None,
    };
    Some(AuditEntry { id, at, actor, action, sale, subject, before, after })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::testing::contracts::{Scene, Terms};
    use crate::testing::servers::PostgresShop;

    /// Two sales, and five entries in pairs that share their moment.
    async fn shop() -> (PostgresShop, PostgresAuditTrail) {
        let shop = PostgresShop::open().await;
        Scene::open(&shop, Terms::unique(1)).await;
        Scene::open(&shop, Terms::unique(1)).await;
        shop.execute(
            "INSERT INTO sale_audit (sale_id, action, actor, at)
             SELECT 1 + n % 2, 'changed', 'ann', timestamptz '2001-01-01' + n / 2 * interval '1 day'
             FROM generate_series(0, 4) AS n",
        )
        .await;
        let trail = PostgresAuditTrail::new(shop.database().await);
        (shop, trail)
    }

    #[tokio::test]
    async fn every_entry_is_on_one_page_newest_first() {
        let (_shop, trail) = shop().await;

        let (mut found, mut entry) = (Vec::new(), None);
        loop {
            let after = Cursor { entry, limit: 2 };
            let page = trail.list(AuditFilter::default(), after).await.unwrap();
            assert!(page.entries.len() <= 2);
            found.extend(page.entries.iter().map(AuditKey::of));
            entry = page.next;
            if entry.is_none() {
                break;
            }
        }

        assert!(found.is_sorted_by(|one, next| one > next), "{found:?}");
        assert_eq!(found.iter().map(|key| key.id).collect::<BTreeSet<_>>().len(), 7);
    }

    #[tokio::test]
    async fn entries_may_be_limited_to_a_sale_and_a_time() {
        let (_shop, trail) = shop().await;
        let since = Some("2001-01-02T00:00:00Z".parse().unwrap());
        let sale = SaleId::new(1);

        let list = async |wanted| {
            let page = trail.list(wanted, Cursor::beginning(9)).await.unwrap();
            page.entries.into_iter().map(|entry| (entry.action, entry.sale)).collect::<Vec<_>>()
        };

        assert_eq!(list(AuditFilter { since, sale: None }).await.len(), 5);
        let of_sale = list(AuditFilter { since, sale }).await;
        let one = |action: &str| (action.to_owned(), sale);
        assert_eq!(of_sale, [one("created"), one("changed"), one("changed")]);
    }
}
