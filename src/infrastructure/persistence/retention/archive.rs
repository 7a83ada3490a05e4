//! Archives sales: a small row in `archived_sales` takes the place of the one in `sales`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::application::ports::{ExpiredSale, KeptBecause, PortError};
use crate::domain::ids::SaleId;
use crate::domain::sale::SaleWindow;
use crate::domain::time_text::length;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::pool::tx::Options;
use crate::infrastructure::persistence::row::from_row;

const WHAT: &str = "the old sales";
/// Sales that are looked at together.
const AT_A_TIME: i64 = 10_000;
/// How often the lock on `sales` is waited for, each time for no longer than a buyer would notice. No transaction but an import holds it
/// for long.
const LOCK_RETRIES: u32 = 30;

/// The sales of which not all events are delivered. Events are deleted after `events.keep`, so that a sink that is never used again keeps a
/// sale no longer.
macro_rules! undelivered {
    () => {
        r"
    SELECT sale_id FROM outbox WHERE position IS NULL
    UNION
    SELECT sale_id FROM outbox
    WHERE position > (
        SELECT least((SELECT min(position) FROM event_sinks), (SELECT min(position) FROM webhooks),
                     (SELECT min(position) FROM webhook_replays))
    )"
    };
}

pub(crate) const EXPIRED: &str = concat!(
    r"
    WITH undelivered AS MATERIALIZED (",
    undelivered!(),
    r"
    )
    SELECT s.id, s.name, s.starts_at, s.ends_at, s.closed_end IS DISTINCT FROM s.ends_at AS lacks_report,
           EXISTS (SELECT FROM undelivered AS u WHERE u.sale_id = s.id) AS lacks_delivery
    FROM sales AS s
    WHERE s.ends_at < statement_timestamp() - make_interval(secs => $1)
    ORDER BY s.ends_at, s.id
    LIMIT $2"
);

/// With this lock no sale is created or changed meanwhile, and none is open, because the conditions are read under it.
const LOCK: &str = r"
    SET LOCAL lock_timeout = '100ms';
    LOCK TABLE sales IN SHARE ROW EXCLUSIVE MODE
";

/// The conditions of [`EXPIRED`] are repeated, because a sale may have been changed since.
pub(crate) const ARCHIVE: &str = concat!(
    r"
    WITH undelivered AS MATERIALIZED (",
    undelivered!(),
    r"
    ), gone AS (
        DELETE FROM sales AS s
        WHERE s.id = ANY ($1)
          AND s.ends_at < statement_timestamp() - make_interval(secs => $2)
          AND s.closed_end = s.ends_at
          AND NOT EXISTS (SELECT FROM undelivered AS u WHERE u.sale_id = s.id)
        RETURNING s.id, s.name, s.schedule, s.starts_at, s.ends_at
    ), archived AS (
        INSERT INTO archived_sales (id, name, schedule, starts_at, ends_at)
        SELECT id, name, schedule, starts_at, ends_at FROM gone
    ), audit AS (
        INSERT INTO sale_audit (sale_id, action, actor, before, after)
        SELECT id, 'archived', $3,
               jsonb_build_object('name', name, 'starts_at', starts_at, 'ends_at', ends_at),
               jsonb_build_object('keep', $4::text)
        FROM gone
        ORDER BY id
    ), told AS (
        DELETE FROM announcements WHERE sale_id IN (SELECT id FROM gone)
    ), counted AS (
        DELETE FROM sold_out_items WHERE sale_id IN (SELECT id FROM gone)
    )
    SELECT id FROM gone ORDER BY id"
);

from_row! {
    #[derive(Debug)]
    struct ExpiredRow {
        id: i64,
        name: String,
        starts_at: DateTime<Utc>,
        ends_at: DateTime<Utc>,
        lacks_report: bool,
        lacks_delivery: bool,
    }
}

impl ExpiredRow {
    fn sale(self) -> Option<ExpiredSale> {
        let kept = match (self.lacks_report, self.lacks_delivery) {
            (true, _) => Some(KeptBecause::ReportMissing),
            (false, true) => Some(KeptBecause::EventsUndelivered),
            (false, false) => None,
        };
        Some(ExpiredSale {
            sale: SaleId::new(self.id)?,
            name: self.name,
            window: SaleWindow::new(self.starts_at, self.ends_at)?,
            kept,
        })
    }
}

/// Sales that ended at least this long ago.
pub(super) async fn expired(
    database: &Database,
    keep: Duration,
) -> Result<Vec<ExpiredSale>, PortError> {
    let query = || {
        let query = sqlx::query_as(EXPIRED).bind(keep.as_secs_f64()).bind(AT_A_TIME);
        query.fetch_all(database.pool())
    };
    let rows: Vec<ExpiredRow> = database.read_as(Statement::Retention, WHAT, query).await?;
    let sales: Option<Vec<ExpiredSale>> = rows.into_iter().map(ExpiredRow::sale).collect();
    sales.ok_or_else(|| DatabaseError::Unreadable("sales").into_port_error(WHAT))
}

/// Archives those of these sales that may go.
pub(super) async fn archive(
    database: &Database,
    keep: Duration,
    (sales, actor): (&[SaleId], &str),
) -> Result<Vec<SaleId>, PortError> {
    let numbers: Vec<i64> = sales.iter().map(|sale| sale.get()).collect();
    let numbers = &numbers;
    let options = Options { retries: LOCK_RETRIES, ..Options::WRITE };
    let gone = database.transaction(options, |mut tx| async move {
        let gone = write(&mut tx, keep, (numbers, actor));
        let gone = database.time(Statement::Retention, gone).await?;
        Ok((tx, gone))
    });
    let gone = gone.await.map_err(|error| error.into_port_error(WHAT))?;
    Ok(gone.into_iter().filter_map(SaleId::new).collect())
}

async fn write(
    connection: &mut PgConnection,
    keep: Duration,
    (sales, actor): (&[i64], &str),
) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::raw_sql(LOCK).execute(&mut *connection).await?;
    let query = sqlx::query_scalar(ARCHIVE).bind(sales).bind(keep.as_secs_f64()).bind(actor);
    query.bind(length(keep)).fetch_all(connection).await
}
