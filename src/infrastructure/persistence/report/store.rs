//! Reports in PostgreSQL.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::PgConnection;

use super::{closing, document, facts};
use crate::application::ports::{EndedSale, PortError, SaleReportReader, SaleReportStore};
use crate::domain::ids::SaleId;
use crate::domain::sale_report::SaleReport;
use crate::infrastructure::persistence::partitions::Partitions;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::pool::tx::{Isolation, Options};

const WHAT: &str = "the report of the sale";
/// Longest time of a statement: a hundred times that of a sale of a million purchases.
const TIMEOUT: Duration = Duration::from_mins(2);
/// How often a close is repeated after a lost race, such as one with a move of the sale's end.
const RETRIES: u32 = 3;

/// The report that a sale was closed with, unless it has another end since or is open again. It outlives the sale.
pub(crate) const STORED: &str = r"
    SELECT r.report::text
    FROM sale_reports AS r
    LEFT JOIN sales AS s ON s.id = r.sale_id
    WHERE r.sale_id = $1
      AND (s.id IS NULL OR (s.closed_end = s.ends_at AND s.ends_at <= statement_timestamp()))
";

/// Takes the sale's closing if it is settled in the snapshot that everything else is read in. Another instance that closes it skips it.
const TAKE: &str = r"
    SELECT true
    FROM sales AS s
    JOIN sale_closings AS c ON c.sale_id = s.id AND c.ends_at = s.ends_at
    WHERE s.id = $1
      AND s.closed_end IS DISTINCT FROM s.ends_at
      AND s.ends_at <= statement_timestamp()
      AND c.horizon <= pg_snapshot_xmin(pg_current_snapshot())
    FOR UPDATE OF c SKIP LOCKED
";

/// The report, the event and the mark on the sale, or none of them.
const CLOSE: &str = r"
    WITH report AS (
        INSERT INTO sale_reports (sale_id, report)
        VALUES ($1, $2::jsonb)
        ON CONFLICT (sale_id) DO UPDATE
        SET report = EXCLUDED.report, made_at = EXCLUDED.made_at
    ), event AS (
        INSERT INTO outbox (sale_id, kind, data)
        VALUES ($1, 'sale.ended', $2::jsonb)
    ), closing AS (
        DELETE FROM sale_closings WHERE sale_id = $1
    )
    UPDATE sales SET closed_end = ends_at WHERE id = $1
";

/// Reads and stores reports.
pub(crate) struct PostgresSaleReports {
    database: Database,
    partitions: Partitions<6>,
}

impl PostgresSaleReports {
    pub(crate) fn new(database: Database) -> Self {
        Self { database, partitions: Partitions::new(facts::STATEMENTS) }
    }

    async fn stored(&self, sale: SaleId) -> Result<Option<SaleReport>, PortError> {
        let query =
            || sqlx::query_scalar(STORED).bind(sale.get()).fetch_optional(self.database.pool());
        let stored: Option<String> = self.database.read(WHAT, query).await?;
        let unreadable = || DatabaseError::Unreadable("sale_reports").into_port_error(WHAT);
        stored.map(|report| document::read(&report).ok_or_else(unreadable)).transpose()
    }

    async fn computed(&self, sale: SaleId) -> Result<Option<SaleReport>, DatabaseError> {
        let options = Options { timeout: Some(TIMEOUT), ..Options::SNAPSHOT };
        let facts = self.partitions.snapshot(
            &self.database,
            options,
            sale,
            |mut tx, statements| async move {
                facts::prepare(&mut tx).await?;
                let facts = facts::read(&mut tx, sale, &statements).await?;
                Ok((tx, facts))
            },
        );
        Ok(facts.await?.map(|facts| SaleReport::of(facts, false)))
    }
}

#[async_trait]
impl SaleReportReader for PostgresSaleReports {
    async fn report(&self, sale: SaleId) -> Result<Option<SaleReport>, PortError> {
        if let Some(report) = self.stored(sale).await? {
            return Ok(Some(report));
        }
        self.computed(sale).await.map_err(|error| error.into_port_error(WHAT))
    }
}

#[async_trait]
impl SaleReportStore for PostgresSaleReports {
    async fn ended(&self, at_least: Duration) -> Result<Vec<EndedSale>, PortError> {
        closing::ended(&self.database, at_least).await
    }

    async fn close(&self, sale: SaleId) -> Result<bool, PortError> {
        let options = Options {
            isolation: Isolation::RepeatableRead,
            timeout: Some(TIMEOUT),
            retries: RETRIES,
            ..Options::WRITE
        };
        let closed = self.partitions.snapshot(
            &self.database,
            options,
            sale,
            |mut tx, statements| async move {
                facts::prepare(&mut tx).await?;
                let taken: Option<bool> =
                    sqlx::query_scalar(TAKE).bind(sale.get()).fetch_optional(&mut *tx).await?;
                if taken.is_none() {
                    return Ok((tx, false));
                }
                let Some(facts) = facts::read(&mut tx, sale, &statements).await? else {
                    return Ok((tx, false));
                };
                let report = document::write(&SaleReport::of(facts, true)).to_string();
                self.database.time(Statement::CloseSale, write(&mut tx, sale, report)).await?;
                Ok((tx, true))
            },
        );
        closed.await.map_err(|error| error.into_port_error(WHAT))
    }
}

async fn write(
    connection: &mut PgConnection,
    sale: SaleId,
    report: String,
) -> Result<(), sqlx::Error> {
    sqlx::query(CLOSE).bind(sale.get()).bind(report).execute(connection).await?;
    Ok(())
}
