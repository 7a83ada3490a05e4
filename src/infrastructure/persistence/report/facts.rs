//! What the record holds of a sale: each of its tables is read once, in the snapshot of the caller's transaction.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::domain::ids::SaleId;
use crate::domain::sale::SaleWindow;
use crate::domain::sale_report::{
    Peak, PurchaseFacts, RefusalFacts, SINGLE_SECONDS, SaleFacts, Timeline,
};
use crate::infrastructure::persistence::partitions::Statements;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::row::from_row;

/// The session's settings are for statements that read few rows; these are for reading a whole sale.
///
/// The planner takes each moment for a group, and would sort a million rows where hashing them leaves a few thousand groups. Parallel
/// workers would take cores from a running sale.
const SETTINGS: &str = r"
    SELECT set_config('idle_in_transaction_session_timeout', '60s', true),
           set_config('plan_cache_mode', 'force_custom_plan', true),
           set_config('enable_seqscan', 'on', true),
           set_config('enable_bitmapscan', 'on', true),
           set_config('enable_sort', 'off', true),
           set_config('max_parallel_workers_per_gather', '0', true),
           set_config('work_mem', '64MB', true),
           set_config('jit', 'off', true)
";

/// `now()` is before the snapshot: everything that was committed until then is in it.
const SALE: &str = r"
    SELECT name, starts_at, ends_at, now() AS as_of
    FROM sales
    WHERE id = $1
";

/// First by single seconds, whatever the interval, because of the peak.
const PURCHASES: &str = r"
    SELECT extract(epoch FROM interval_start - $2)::bigint AS second,
           sum(sold)::bigint AS sold,
           sum(purchases)::bigint AS purchases,
           sum(unsuccessful)::bigint AS unsuccessful,
           max(last_sold_at) AS last_sold_at,
           (array_agg(extract(epoch FROM single_second - $2)::bigint ORDER BY sold DESC, single_second))[1] AS peak_second,
           max(sold) AS peak_sold
    FROM (
        SELECT single_second,
               CASE WHEN single_second < $3 THEN single_second
                    ELSE date_bin(make_interval(secs => $4), single_second, $3)
               END AS interval_start,
               sold, purchases, unsuccessful, last_sold_at
        FROM (
            SELECT date_bin('1 second', purchased_at, $2) AS single_second,
                   sum(total_purchased) AS sold,
                   count(*) FILTER (WHERE total_purchased > 0) AS purchases,
                   count(*) FILTER (WHERE total_purchased = 0) AS unsuccessful,
                   max(purchased_at) FILTER (WHERE total_purchased > 0) AS last_sold_at
            FROM purchases{of_sale}
            WHERE sale_id = $1
            GROUP BY 1
        ) AS single_seconds
    ) AS seconds
    GROUP BY interval_start
";

const CHECKOUTS: &str = r"
    SELECT extract(epoch FROM interval_start - $2)::bigint, count
    FROM (
        SELECT CASE WHEN created_at < $3 THEN date_bin('1 second', created_at, $2)
                    ELSE date_bin(make_interval(secs => $4), created_at, $3)
               END AS interval_start,
               count(*)
        FROM checkout_attempts{of_sale}
        WHERE sale_id = $1
        GROUP BY 1
    ) AS intervals
";

/// Refusals before the start and after the end, which may go on for days, have no interval.
const REFUSED: &str = r"
    SELECT extract(epoch FROM interval_start - $2)::bigint, count
    FROM (
        SELECT CASE WHEN refused_at < $3 THEN date_bin('1 second', refused_at, $2)
                    ELSE date_bin(make_interval(secs => $4), refused_at, $3)
               END AS interval_start,
               count(*)
        FROM checkout_refusals{of_sale}
        WHERE sale_id = $1 AND refused_at >= $2 AND refused_at < $5
        GROUP BY 1
    ) AS intervals
";

const BUYERS: &str = r"
    SELECT count(*) FROM buyers{of_sale} WHERE sale_id = $1 AND bought > 0
";

const PIECES: &str = r"
    SELECT coalesce(sum(stock), 0)::bigint FROM item_stock{of_sale} WHERE sale_id = $1
";

const CANCELLED: &str = r"
    SELECT coalesce(sum(quantity), 0)::bigint FROM purchase_cancellations{of_sale} WHERE sale_id = $1
";

const REFUSALS: &str = r"
    SELECT reason, total, detailed FROM refusal_totals WHERE sale_id = $1
";

/// The templates for `Partitions`, and their indexes.
pub(super) const STATEMENTS: [&str; 6] = [PURCHASES, CHECKOUTS, REFUSED, BUYERS, PIECES, CANCELLED];
const PURCHASES_AT: usize = 0;
const CHECKOUTS_AT: usize = 1;
const REFUSED_AT: usize = 2;
const BUYERS_AT: usize = 3;
const PIECES_AT: usize = 4;
const CANCELLED_AT: usize = 5;

from_row! {
    #[derive(Debug)]
    struct SaleRow {
        name: String,
        starts_at: DateTime<Utc>,
        ends_at: DateTime<Utc>,
        as_of: DateTime<Utc>,
    }
}

from_row! {
    #[derive(Debug)]
    struct PurchaseRow {
        second: i64,
        sold: i64,
        purchases: i64,
        unsuccessful: i64,
        last_sold_at: Option<DateTime<Utc>>,
        peak_second: i64,
        peak_sold: i64,
    }
}

/// Sets the planner for reading a whole sale, until the transaction ends. In a REPEATABLE READ transaction it takes the snapshot.
pub(super) async fn prepare(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(SETTINGS).execute(connection).await?;
    Ok(())
}

/// Reads the facts of a sale; `None` if there is no such sale. The connection is in a REPEATABLE READ transaction, and prepared.
pub(super) async fn read(
    connection: &mut PgConnection,
    sale: SaleId,
    statements: &Statements<6>,
) -> Result<Option<SaleFacts>, DatabaseError> {
    let row: Option<SaleRow> =
        sqlx::query_as(SALE).bind(sale.get()).fetch_optional(&mut *connection).await?;
    let Some(SaleRow { name, starts_at, ends_at, as_of }) = row else { return Ok(None) };
    let window = SaleWindow::new(starts_at, ends_at)
        .ok_or(DatabaseError::Unreadable("the sale's window"))?;
    let intervals = Intervals { sale, window };
    let count = |statement| sqlx::query_scalar(statements.get(statement)).bind(sale.get());
    let buyers = count(BUYERS_AT).persistent(false).fetch_one(&mut *connection).await?;
    let cancelled = count(CANCELLED_AT).persistent(false).fetch_one(&mut *connection).await?;
    let pieces = count(PIECES_AT).persistent(false).fetch_one(&mut *connection).await?;
    Ok(Some(SaleFacts {
        sale,
        name,
        window,
        as_of,
        pieces,
        cancelled,
        buyers,
        purchases: intervals.purchases(connection, statements).await?,
        checkouts: intervals.counts(connection, statements, CHECKOUTS_AT).await?,
        refused: intervals.counts(connection, statements, REFUSED_AT).await?,
        refusals: refusals(connection, sale).await?,
    }))
}

/// The parameters of the statements that count by intervals.
#[derive(Debug, Clone, Copy)]
struct Intervals {
    sale: SaleId,
    window: SaleWindow,
}

impl Intervals {
    async fn purchases(
        self,
        connection: &mut PgConnection,
        statements: &Statements<6>,
    ) -> Result<Vec<PurchaseFacts>, sqlx::Error> {
        let rows: Vec<PurchaseRow> = sqlx::query_as(statements.get(PURCHASES_AT))
            .bind(self.sale.get())
            .bind(self.window.starts_at())
            .bind(self.wide_from())
            .bind(self.wide())
            .persistent(false)
            .fetch_all(connection)
            .await?;
        Ok(rows.iter().map(purchase_facts).collect())
    }

    async fn counts(
        self,
        connection: &mut PgConnection,
        statements: &Statements<6>,
        statement: usize,
    ) -> Result<Vec<(i64, i64)>, sqlx::Error> {
        let query = sqlx::query_as(statements.get(statement))
            .bind(self.sale.get())
            .bind(self.window.starts_at())
            .bind(self.wide_from())
            .bind(self.wide());
        let query = if statement == REFUSED_AT { query.bind(self.window.ends_at()) } else { query };
        query.persistent(false).fetch_all(connection).await
    }

    /// The end of the single seconds.
    fn wide_from(self) -> DateTime<Utc> {
        self.window.starts_at() + chrono::Duration::seconds(SINGLE_SECONDS)
    }

    #[expect(clippy::cast_precision_loss, reason = "a whole number of seconds far below 2^53")]
    fn wide(self) -> f64 {
        Timeline::of(self.window).wide() as f64
    }
}

fn purchase_facts(row: &PurchaseRow) -> PurchaseFacts {
    PurchaseFacts {
        second: row.second,
        sold: row.sold,
        purchases: row.purchases,
        unsuccessful: row.unsuccessful,
        last_sold_at: row.last_sold_at,
        peak: Peak { second: row.peak_second, sold: row.peak_sold },
    }
}

async fn refusals(
    connection: &mut PgConnection,
    sale: SaleId,
) -> Result<Vec<RefusalFacts>, sqlx::Error> {
    let rows: Vec<(String, i64, i64)> =
        sqlx::query_as(REFUSALS).bind(sale.get()).fetch_all(connection).await?;
    let facts =
        rows.into_iter().map(|(reason, total, detailed)| RefusalFacts { reason, total, detailed });
    Ok(facts.collect())
}
