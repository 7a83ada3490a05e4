//! The record of refusals in PostgreSQL: a flush is one transaction, and its number makes it count once.

use async_trait::async_trait;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::application::ports::{PortError, RefusalFlush, RefusalStore};
use crate::domain::ids::{AttemptId, BuyerId, ItemId};
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::{DatabaseError, ErrorClass};
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::pool::tx::Options;

/// How often a flush is repeated after it lost a race for a total's row.
const RETRIES: u32 = 3;

/// Takes the flush's number. Returns no row if this number or a later one was taken before.
const TAKE_NUMBER: &str = r"
    INSERT INTO refusal_flushes (instance, sequence)
    VALUES ($1, $2)
    ON CONFLICT (instance) DO UPDATE
    SET sequence = EXCLUDED.sequence, at = EXCLUDED.at
    WHERE refusal_flushes.sequence < EXCLUDED.sequence
    RETURNING true
";

const ADD_DETAILS: &str = r"
    INSERT INTO checkout_refusals
        (sale_id, instance, sequence, position, operation, reason, user_id, item_id, attempt_id, refused_at)
    SELECT t.sale_id, $1, $2, t.position, t.operation, t.reason, t.user_id, t.item_id,
           t.attempt_id, t.refused_at
    FROM unnest($3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[],
                $9::timestamptz[])
        WITH ORDINALITY
        AS t(sale_id, operation, reason, user_id, item_id, attempt_id, refused_at, position)
";

/// Adds in the order of the key, like every other instance, so that two that add to the same totals do not deadlock.
const ADD_TOTALS: &str = r"
    INSERT INTO refusal_totals AS r (sale_id, operation, reason, total, detailed)
    SELECT t.sale_id, t.operation, t.reason, t.total, t.detailed
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
        AS t(sale_id, operation, reason, total, detailed)
    ON CONFLICT (sale_id, operation, reason) DO UPDATE
    SET total = r.total + EXCLUDED.total, detailed = r.detailed + EXCLUDED.detailed
";

/// Stores the refusals of one run of an instance.
pub(crate) struct PostgresRefusalStore {
    database: Database,
    instance: Uuid,
}

impl PostgresRefusalStore {
    /// `instance` identifies this run of the service, within which flushes are numbered.
    pub(crate) fn new(database: Database, instance: Uuid) -> Self {
        Self { database, instance }
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        flush: &RefusalFlush,
    ) -> Result<(), sqlx::Error> {
        let is_new: Option<bool> = sqlx::query_scalar(TAKE_NUMBER)
            .bind(self.instance)
            .bind(flush.sequence)
            .fetch_optional(&mut *connection)
            .await?;
        if is_new.is_none() {
            return Ok(());
        }
        let details = &flush.details;
        sqlx::query(ADD_DETAILS)
            .bind(self.instance)
            .bind(flush.sequence)
            .bind(column(details, |refusal| refusal.sale.get()))
            .bind(column(details, |refusal| refusal.operation.as_str()))
            .bind(column(details, |refusal| refusal.reason.as_str()))
            .bind(column(details, |refusal| refusal.buyer.as_ref().map(BuyerId::as_str)))
            .bind(column(details, |refusal| refusal.item.as_ref().map(ItemId::as_str)))
            .bind(column(details, |refusal| refusal.attempt.map(AttemptId::get)))
            .bind(column(details, |refusal| refusal.refused_at))
            .execute(&mut *connection)
            .await?;
        let totals = &flush.totals;
        sqlx::query(ADD_TOTALS)
            .bind(column(totals, |total| total.sale.get()))
            .bind(column(totals, |total| total.operation.as_str()))
            .bind(column(totals, |total| total.reason.as_str()))
            .bind(column(totals, |total| total.total))
            .bind(column(totals, |total| total.detailed))
            .execute(&mut *connection)
            .await?;
        Ok(())
    }
}

#[async_trait]
impl RefusalStore for PostgresRefusalStore {
    async fn append(&self, flush: &RefusalFlush) -> Result<(), PortError> {
        let written = match self.try_append(flush).await {
            // A detail that cannot be written, for example of a sale whose partition was dropped, must not block the totals, nor
            // the flushes after this one.
            Err(error) if error.class() == ErrorClass::Permanent && !flush.details.is_empty() => {
                tracing::warn!(%error, "details of refusals cannot be written: keeping their totals");
                self.try_append(&without_details(flush)).await
            }
            written => written,
        };
        written.map_err(|error| error.into_port_error("the record of refusals"))
    }
}

impl PostgresRefusalStore {
    async fn try_append(&self, flush: &RefusalFlush) -> Result<(), DatabaseError> {
        self.database
            .transaction(Options { retries: RETRIES, ..Options::WRITE }, |mut tx| async move {
                let write = self.write(&mut tx, flush);
                self.database.time(Statement::FlushRefusals, write).await?;
                Ok((tx, ()))
            })
            .await
    }
}

fn without_details(flush: &RefusalFlush) -> RefusalFlush {
    let mut totals = flush.totals.clone();
    for total in &mut totals {
        total.detailed = 0;
    }
    RefusalFlush { sequence: flush.sequence, totals, details: Vec::new() }
}

fn column<'a, T, C>(rows: &'a [T], field: impl Fn(&'a T) -> C) -> Vec<C> {
    rows.iter().map(field).collect()
}

#[cfg(test)]
mod tests {
    use crate::testing::contracts::refusal_store::{RefusalWorld, flush, refusal_store_contract};
    use crate::testing::servers::PostgresShop;

    refusal_store_contract!(PostgresShop::open().await);

    #[tokio::test]
    async fn a_flush_that_fails_leaves_nothing_behind_and_can_be_repeated() {
        let shop = PostgresShop::open().await;
        let sale = shop.sale().await;
        let store = RefusalWorld::instance(&shop).await;
        shop.execute("ALTER TABLE refusal_totals ADD CONSTRAINT not_now CHECK (sale_id = 0)").await;

        let failed = store.append(&flush(sale, 1, 3, 1)).await;
        let left_behind = shop.details(sale).await;
        shop.execute("ALTER TABLE refusal_totals DROP CONSTRAINT not_now").await;
        store.append(&flush(sale, 1, 3, 1)).await.unwrap();

        assert!(failed.is_err());
        assert_eq!((left_behind.len(), shop.totals(sale).await.len()), (0, 2));
    }

    #[tokio::test]
    async fn details_that_cannot_be_written_do_not_block_their_totals() {
        let shop = PostgresShop::open().await;
        let sale = shop.sale().await;
        let store = RefusalWorld::instance(&shop).await;
        let forbid = "ALTER TABLE checkout_refusals ADD CONSTRAINT not_now CHECK (sale_id = 0)";
        shop.execute(forbid).await;

        store.append(&flush(sale, 1, 3, 2)).await.unwrap();

        let counts: Vec<_> =
            shop.totals(sale).await.iter().map(|total| (total.total, total.detailed)).collect();
        assert_eq!(counts, [(3, 0), (3, 0)]);
    }
}
