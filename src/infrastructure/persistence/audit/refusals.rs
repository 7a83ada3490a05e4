//! The record of refusals in PostgreSQL: a flush is one transaction, and its number makes it count once. Each statement writes those of
//! one sale.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::PgConnection;
use uuid::Uuid;

use super::by_sale::by_sale;
use super::refusal_details::{self, FlushId};
use crate::application::ports::{
    AnsweredRequest, Causes, PortError, RefusalFlush, RefusalStore, RefusalTotal,
};
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::{DatabaseError, ErrorClass};
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::pool::tx::Options;

/// How often a flush is repeated after it lost a race for a total's row.
const RETRIES: u32 = 3;
/// Longest time of the transaction that looks for the details that cannot be written: some thousand statements.
const SEARCH_TIMEOUT: Duration = Duration::from_mins(1);

/// Takes the flush's number. Returns no row if this number or a later one was taken before.
pub(crate) const TAKE_NUMBER: &str = r"
    INSERT INTO refusal_flushes (instance, sequence)
    VALUES ($1, $2)
    ON CONFLICT (instance) DO UPDATE
    SET sequence = EXCLUDED.sequence, at = EXCLUDED.at
    WHERE refusal_flushes.sequence < EXCLUDED.sequence
    RETURNING true
";

/// Adds in the order of the key, like every other instance, so that two that add to the same totals do not deadlock.
pub(crate) const ADD_TOTALS: &str = r"
    INSERT INTO refusal_totals AS r (sale_id, operation, reason, total, detailed)
    SELECT t.sale_id, t.operation, t.reason, t.total, t.detailed
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
        AS t(sale_id, operation, reason, total, detailed)
    ON CONFLICT (sale_id, operation, reason) DO UPDATE
    SET total = r.total + EXCLUDED.total, detailed = r.detailed + EXCLUDED.detailed
";

/// Of sales that exist: the partition of a sale that was dropped is gone with it.
pub(crate) const ADD_ANSWERED: &str = r"
    INSERT INTO purchase_requests (sale_id, attempt_id, request_id)
    SELECT t.sale_id, t.attempt_id, t.request_id
    FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS t(sale_id, attempt_id, request_id)
    WHERE EXISTS (SELECT FROM sales AS s WHERE s.id = t.sale_id)
    ON CONFLICT DO NOTHING
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

    /// Writes the flush with all its details, or nothing.
    async fn write_all(&self, flush: &RefusalFlush) -> Result<(), DatabaseError> {
        let options = Options { retries: RETRIES, ..Options::WRITE };
        self.database
            .transaction(options, |mut tx| async move {
                let write = async {
                    if self.take_number(&mut tx, flush).await? {
                        refusal_details::add(&mut tx, self.id(flush), &flush.details).await?;
                        add_answered(&mut tx, &flush.answered).await?;
                        add_totals(&mut tx, &flush.totals).await?;
                    }
                    Ok(())
                };
                self.database.time(Statement::FlushRefusals, write).await?;
                Ok((tx, ()))
            })
            .await
    }

    /// Writes the flush with those of its details that PostgreSQL does not refuse.
    async fn write_writable(&self, flush: &RefusalFlush) -> Result<(), DatabaseError> {
        let options = Options { retries: RETRIES, timeout: Some(SEARCH_TIMEOUT), ..Options::WRITE };
        self.database
            .transaction(options, |mut tx| async move {
                if self.take_number(&mut tx, flush).await? {
                    let (id, details) = (self.id(flush), &flush.details);
                    let written = refusal_details::add_writable(&mut tx, id, details).await?;
                    let dropped = details.len() - written.len();
                    tracing::warn!(dropped, "details that postgresql refuses are not on record");
                    add_totals(&mut tx, &refusal_details::counted(&flush.totals, &written)).await?;
                }
                Ok((tx, ()))
            })
            .await
    }

    /// Whether the flush was not written before.
    async fn take_number(
        &self,
        connection: &mut PgConnection,
        flush: &RefusalFlush,
    ) -> Result<bool, sqlx::Error> {
        let is_new: Option<bool> = sqlx::query_scalar(TAKE_NUMBER)
            .bind(self.instance)
            .bind(flush.sequence)
            .fetch_optional(connection)
            .await?;
        Ok(is_new.is_some())
    }

    fn id(&self, flush: &RefusalFlush) -> FlushId {
        FlushId { instance: self.instance, sequence: flush.sequence }
    }
}

fn has_details(flush: &RefusalFlush) -> bool {
    !flush.details.is_empty() || !flush.answered.is_empty()
}

async fn add_answered(
    connection: &mut PgConnection,
    answered: &[AnsweredRequest],
) -> Result<(), sqlx::Error> {
    for of_sale in by_sale(answered, |one| one.sale).into_values() {
        sqlx::query(ADD_ANSWERED)
            .bind(column(&of_sale, |one| one.sale.get()))
            .bind(column(&of_sale, |one| one.attempt.get()))
            .bind(column(&of_sale, |one| one.request.as_str()))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn add_totals(
    connection: &mut PgConnection,
    totals: &[RefusalTotal],
) -> Result<(), sqlx::Error> {
    for of_sale in by_sale(totals, |total| total.sale).into_values() {
        sqlx::query(ADD_TOTALS)
            .bind(column(&of_sale, |total| total.sale.get()))
            .bind(column(&of_sale, |total| total.operation.as_str()))
            .bind(column(&of_sale, |total| total.reason.as_str()))
            .bind(column(&of_sale, |total| total.total))
            .bind(column(&of_sale, |total| total.detailed))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

fn column<'a, T, C>(rows: &[&'a T], field: impl Fn(&'a T) -> C) -> Vec<C> {
    rows.iter().map(|row| field(row)).collect()
}

#[async_trait]
impl RefusalStore for PostgresRefusalStore {
    async fn append(&self, flush: &RefusalFlush) -> Result<(), PortError> {
        let written = match self.write_all(flush).await {
            // A detail that cannot be written, for example of a sale whose partition was dropped, must not block the totals,
            // nor the other details, nor the flushes after this one.
            Err(error) if error.class() == ErrorClass::Permanent && has_details(flush) => {
                tracing::warn!(
                    error = %Causes(&error),
                    "some details of refusals cannot be written: finding out which"
                );
                self.write_writable(flush).await
            }
            written => written,
        };
        written.map_err(|error| error.into_port_error("the record of refusals"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{RequestId, SaleId};
    use crate::testing::builders::{attempt_id, buyer};
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
    async fn every_statement_of_a_flush_writes_one_sale() {
        let shop = PostgresShop::open().await;
        let (sale, other) = (shop.sale().await, shop.sale().await);
        let store = RefusalWorld::instance(&shop).await;
        shop.execute(
            "CREATE FUNCTION one_sale() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF (SELECT count(DISTINCT sale_id) FROM written) > 1 THEN
                     RAISE EXCEPTION 'a statement writes two sales';
                 END IF;
                 RETURN NULL;
             END
             $$",
        )
        .await;
        for table in ["refusal_totals", "checkout_refusals", "purchase_requests"] {
            let trigger = format!(
                "CREATE TRIGGER one_sale AFTER INSERT ON {table} REFERENCING NEW TABLE AS written
                 FOR EACH STATEMENT EXECUTE FUNCTION one_sale()"
            );
            shop.execute(&trigger).await;
        }
        // Details of the two take turns, as they arrive.
        let (mut flushed, of_other) = (flush(sale, 1, 3, 2), flush(other, 1, 3, 2));
        flushed.totals.extend(of_other.totals);
        let details = std::mem::take(&mut flushed.details).into_iter().zip(of_other.details);
        flushed.details = details.flat_map(|(one, two)| [one, two]).collect();
        flushed.answered = [sale, other, sale].map(answered).into();

        store.append(&flushed).await.unwrap();

        for sale in [sale, other] {
            assert_eq!((shop.details(sale).await.len(), shop.totals(sale).await.len()), (4, 2));
        }
    }

    fn answered(sale: SaleId) -> AnsweredRequest {
        let request = RequestId::parse("r-1").unwrap();
        AnsweredRequest { sale, attempt: attempt_id(1), request }
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

    #[tokio::test]
    async fn a_detail_that_postgresql_refuses_costs_its_neighbours_nothing() {
        let shop = PostgresShop::open().await;
        let (sale, other) = (shop.sale().await, shop.sale().await);
        let store = RefusalWorld::instance(&shop).await;
        shop.execute(
            "ALTER TABLE checkout_refusals ADD CONSTRAINT no_eve CHECK (user_id <> 'eve')",
        )
        .await;
        let mut flushed = flush(sale, 1, 60, 50);
        let of_other = flush(other, 1, 60, 50);
        flushed.totals.extend(of_other.totals);
        flushed.details.extend(of_other.details);
        for bad in [0, 17, 42] {
            flushed.details[bad].buyer = Some(buyer("eve"));
        }

        store.append(&flushed).await.unwrap();
        store.append(&flushed).await.unwrap();

        let mut expected = flushed.details.clone();
        expected.retain(|refusal| refusal.buyer != Some(buyer("eve")));
        let mut found = shop.details(sale).await;
        found.extend(shop.details(other).await);
        assert_eq!(found.len(), expected.len());
        let counts = |totals: Vec<RefusalTotal>| -> Vec<_> {
            totals.iter().map(|total| (total.total, total.detailed)).collect()
        };
        assert_eq!(counts(shop.totals(sale).await), [(60, 47), (60, 50)]);
        assert_eq!(counts(shop.totals(other).await), [(60, 50), (60, 50)]);
    }

    #[tokio::test]
    async fn a_sale_whose_details_are_all_refused_costs_the_other_sales_nothing() {
        let shop = PostgresShop::open().await;
        let (gone, sale) = (shop.sale().await, shop.sale().await);
        let store = RefusalWorld::instance(&shop).await;
        let forbid = format!(
            "ALTER TABLE checkout_refusals ADD CONSTRAINT gone CHECK (sale_id <> {})",
            gone.get()
        );
        shop.execute(&forbid).await;
        let mut flushed = flush(gone, 1, 1_000, 1_000);
        let of_other = flush(sale, 1, 5, 5);
        flushed.totals.extend(of_other.totals);
        flushed.details.extend(of_other.details);

        store.append(&flushed).await.unwrap();

        assert_eq!((shop.details(gone).await.len(), shop.details(sale).await.len()), (0, 10));
        assert_eq!(shop.totals(gone).await[0].total, 1_000);
    }
}
