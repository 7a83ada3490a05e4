//! The sale store in PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Postgres, QueryBuilder};

use crate::application::ports::{
    Clock, Cursor, CursorPage, PortError, SaleFilter, SaleKey, SaleStore,
};
use crate::config::CatalogueConfig;
use crate::domain::ids::SaleId;
use crate::domain::sale::{NewSale, Sale, SaleState, SaleWindow};
use crate::infrastructure::persistence::operation::request::claim;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::pool::tx::Options;
use crate::infrastructure::persistence::row::from_row;
use crate::infrastructure::persistence::sale::clock::DatabaseClock;

/// The name of the only schedule in `sales.schedule`. Its cron expression may change without opening an hour's sale twice.
const SCHEDULE: &str = "scheduled";
/// Longest time to create a sale, of up to a million items.
const CREATE_TIMEOUT: Duration = Duration::from_mins(5);
/// How often the creation is repeated after a lost race for a number or a partition.
const CREATE_RETRIES: u32 = 5;

pub(crate) const FIND: &str = r"
    SELECT id, name, schedule, starts_at, ends_at, buyer_limit, items, generation
    FROM sales
    WHERE id = $1
";

const IS_ARCHIVED: &str = "SELECT EXISTS (SELECT FROM archived_sales WHERE id = $1)";

pub(crate) const FIND_ALL: &str = r"
    SELECT s.id, s.name, s.schedule, s.starts_at, s.ends_at, s.buyer_limit, s.items, s.generation
    FROM unnest($1::bigint[]) AS t(id)
    CROSS JOIN LATERAL (SELECT * FROM sales WHERE id = t.id OFFSET 0) AS s
";

/// Sales that have ended stay for a day, so that requests for them are refused from memory. They have a limit of their own, so that they
/// never displace an open sale.
pub(crate) const LIVE: &str = r"
    SELECT *
    FROM (
        (
            SELECT id, name, schedule, starts_at, ends_at, buyer_limit, items, generation
            FROM sales
            WHERE ends_at > statement_timestamp()
              AND starts_at < statement_timestamp() + interval '1 day'
            ORDER BY schedule NULLS LAST, starts_at
            LIMIT 1000
        )
        UNION ALL
        (
            SELECT id, name, schedule, starts_at, ends_at, buyer_limit, items, generation
            FROM sales
            WHERE ends_at <= statement_timestamp()
              AND ends_at > statement_timestamp() - interval '1 day'
            ORDER BY ends_at DESC
            LIMIT 100
        )
    ) AS live
    ORDER BY starts_at, id
";

const LIST: &str = r"
    SELECT id, name, schedule, starts_at, ends_at, buyer_limit, items, generation
    FROM ";
const ALL: &str = "sales WHERE true";
/// `OFFSET 0` prevents an index scan by start, which would pass all old sales to find the few that have not ended.
const NOT_ENDED: &str =
    "(SELECT * FROM sales WHERE ends_at > statement_timestamp() OFFSET 0) AS s WHERE true";

pub(crate) const INSERT_SALE: &str = r"
    INSERT INTO sales (id, public_id, name, schedule, starts_at, ends_at, buyer_limit, items)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT ON CONSTRAINT sales_one_per_start DO NOTHING
    RETURNING id, name, schedule, starts_at, ends_at, buyer_limit, items, generation
";

pub(crate) const INSERT_ITEMS: &str = r"
    INSERT INTO items (sale_id, item_no, item_id, name, image_url)
    SELECT $1, n, n::text, replace($3, '{item}', n::text), replace($4, '{item}', n::text)
    FROM generate_series(1, $2) AS n
";

pub(crate) const INSERT_STOCK: &str = r"
    INSERT INTO item_stock (sale_id, item_no, stock)
    SELECT $1, n, $3
    FROM generate_series(1, $2) AS n
";

const INSERT_AUDIT: &str = r"
    INSERT INTO sale_audit (sale_id, action, actor, detail)
    VALUES ($1, 'created', $2, jsonb_build_object('items', $3::int, 'stock', $4::int, 'buyer_limit', $5::int))
";

/// Stores sales.
pub(crate) struct PostgresSaleStore {
    database: Database,
    clock: Arc<DatabaseClock>,
    texts: CatalogueConfig,
}

from_row! {
    /// A sale's row.
    #[derive(Debug)]
    pub(crate) struct SaleRow {
        id: i64,
        name: String,
        schedule: Option<String>,
        starts_at: DateTime<Utc>,
        ends_at: DateTime<Utc>,
        buyer_limit: i32,
        items: i32,
        generation: i64,
    }
}

impl PostgresSaleStore {
    /// Generates items from the `texts`, and measures `clock` whenever it reads the live sales.
    pub(crate) fn new(
        database: Database,
        clock: Arc<DatabaseClock>,
        texts: CatalogueConfig,
    ) -> Self {
        Self { database, clock, texts }
    }

    /// Takes a number, and makes its partitions if it is the first to need them.
    ///
    /// In a transaction of its own: a transaction that makes partitions keeps all others that need them waiting until it commits, and
    /// writing a million items takes long. If this process dies behind it, a number is missing and a partition empty, which harms nothing.
    async fn number_with_partitions(&self) -> Result<i64, DatabaseError> {
        let options = Options { retries: CREATE_RETRIES, ..Options::WRITE };
        self.database
            .transaction(options, |mut tx| async move {
                let number = number_with_partitions(&mut tx);
                let number = self.database.time(Statement::CreateSale, number).await?;
                Ok((tx, number))
            })
            .await
    }

    async fn insert(
        &self,
        connection: &mut PgConnection,
        number: i64,
        (sale, actor): (&NewSale, &str),
    ) -> Result<Option<SaleRow>, sqlx::Error> {
        let public_id = SaleId::new(number).map(|id| id.to_string());
        let row: Option<SaleRow> = sqlx::query_as(INSERT_SALE)
            .bind(number)
            .bind(public_id)
            .bind(&sale.name)
            .bind(sale.scheduled.then_some(SCHEDULE))
            .bind(sale.window.starts_at())
            .bind(sale.window.ends_at())
            .bind(sale.buyer_limit)
            .bind(sale.items)
            .fetch_optional(&mut *connection)
            .await?;
        if row.is_none() {
            return Ok(None);
        }
        sqlx::query(INSERT_ITEMS)
            .bind(number)
            .bind(sale.items)
            .bind(&self.texts.item_name)
            .bind(&self.texts.image_url)
            .execute(&mut *connection)
            .await?;
        sqlx::query(INSERT_STOCK)
            .bind(number)
            .bind(sale.items)
            .bind(sale.stock)
            .execute(&mut *connection)
            .await?;
        claim(connection).await?;
        sqlx::query(INSERT_AUDIT)
            .bind(number)
            .bind(actor)
            .bind(sale.items)
            .bind(sale.stock)
            .bind(sale.buyer_limit)
            .execute(&mut *connection)
            .await?;
        Ok(row)
    }

    async fn measure_clock(&self) -> Result<(), PortError> {
        let what = "the database's clock";
        let query = || async {
            // Take the connection first: waiting for one would count as round trip, and so as error of the measurement.
            let mut connection = self.database.pool().acquire().await?;
            let sent = self.clock.monotonic();
            let answer: DateTime<Utc> =
                sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&mut *connection).await?;
            self.clock.measure(sent, answer, self.clock.monotonic());
            Ok(())
        };
        self.database.read_as(Statement::LiveSales, what, query).await
    }
}

#[async_trait]
impl SaleStore for PostgresSaleStore {
    async fn create(&self, sale: &NewSale, actor: &str) -> Result<Option<Sale>, PortError> {
        let what = "the new sale";
        let options =
            Options { timeout: Some(CREATE_TIMEOUT), retries: CREATE_RETRIES, ..Options::WRITE };
        let number = self.number_with_partitions().await;
        let number = number.map_err(|error| error.into_port_error(what))?;
        let row = self
            .database
            .transaction(options, |mut tx| async move {
                let insert = self.insert(&mut tx, number, (sale, actor));
                let row = self.database.time(Statement::CreateSale, insert).await?;
                Ok((tx, row))
            })
            .await
            .map_err(|error| error.into_port_error(what))?;
        row.map(sale_of).transpose().map_err(|error| error.into_port_error(what))
    }

    async fn find(&self, sale: SaleId) -> Result<Option<Sale>, PortError> {
        let what = "the sale";
        let query = || sqlx::query_as(FIND).bind(sale.get()).fetch_optional(self.database.pool());
        let row: Option<SaleRow> = self.database.read(what, query).await?;
        row.map(sale_of).transpose().map_err(|error| error.into_port_error(what))
    }

    async fn is_archived(&self, sale: SaleId) -> Result<bool, PortError> {
        let query =
            || sqlx::query_scalar(IS_ARCHIVED).bind(sale.get()).fetch_one(self.database.pool());
        self.database.read("the archive", query).await
    }

    async fn find_all(&self, sales: &[SaleId]) -> Result<Vec<Sale>, PortError> {
        let what = "the sales in use";
        let numbers: Vec<i64> = sales.iter().map(|sale| sale.get()).collect();
        let query = || sqlx::query_as(FIND_ALL).bind(&numbers).fetch_all(self.database.pool());
        let rows: Vec<SaleRow> = self.database.read_as(Statement::LiveSales, what, query).await?;
        sales_of(rows, what)
    }

    async fn live(&self) -> Result<Vec<Sale>, PortError> {
        let what = "the live sales";
        self.measure_clock().await?;
        let query = || sqlx::query_as(LIVE).fetch_all(self.database.pool());
        let rows: Vec<SaleRow> = self.database.read_as(Statement::LiveSales, what, query).await?;
        sales_of(rows, what)
    }

    async fn list(
        &self,
        wanted: SaleFilter,
        after: Cursor<SaleKey>,
    ) -> Result<CursorPage<Sale, SaleKey>, PortError> {
        let what = "the sales";
        let read = || async {
            let mut query = list(wanted, after);
            query.build_query_as().fetch_all(self.database.pool()).await
        };
        let sales = sales_of(self.database.read(what, read).await?, what)?;
        Ok(CursorPage::cut(sales, after.limit, SaleKey::of))
    }
}

/// Takes a number for a new sale, and makes its partitions.
pub(crate) async fn number_with_partitions(
    connection: &mut PgConnection,
) -> Result<i64, sqlx::Error> {
    let next = "SELECT nextval('sale_ids')";
    let number: i64 = sqlx::query_scalar(next).fetch_one(&mut *connection).await?;
    sqlx::query("SELECT ensure_partitions($1)").bind(number).execute(connection).await?;
    Ok(number)
}

/// Selects one more than the limit, which shows whether there is a next page.
fn list(wanted: SaleFilter, after: Cursor<SaleKey>) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(LIST);
    query.push(match wanted.state {
        Some(SaleState::Upcoming | SaleState::Open) => NOT_ENDED,
        Some(SaleState::Ended) | None => ALL,
    });
    if let Some(since) = wanted.since {
        query.push(" AND starts_at >= ").push_bind(since);
    }
    if let Some(state) = wanted.state {
        query.push(match state {
            SaleState::Upcoming => " AND starts_at > statement_timestamp()",
            SaleState::Open => " AND starts_at <= statement_timestamp()",
            SaleState::Ended => " AND ends_at <= statement_timestamp()",
        });
    }
    if let Some(SaleKey { starts_at, sale }) = after.entry {
        query.push(" AND (starts_at, id) < (").push_bind(starts_at);
        query.push(", ").push_bind(sale.get()).push(")");
    }
    query.push(" ORDER BY starts_at DESC, id DESC LIMIT ").push_bind(i64::from(after.limit) + 1);
    query
}

fn sales_of(rows: Vec<SaleRow>, what: &'static str) -> Result<Vec<Sale>, PortError> {
    rows.into_iter()
        .map(sale_of)
        .collect::<Result<_, _>>()
        .map_err(|error| error.into_port_error(what))
}

/// The sale of a row.
pub(crate) fn sale_of(row: SaleRow) -> Result<Sale, DatabaseError> {
    let unreadable = DatabaseError::Unreadable("sales");
    let (Some(id), Some(window)) =
        (SaleId::new(row.id), SaleWindow::new(row.starts_at, row.ends_at))
    else {
        return Err(unreadable);
    };
    Ok(Sale {
        id,
        name: row.name,
        scheduled: row.schedule.is_some(),
        window,
        buyer_limit: row.buyer_limit,
        items: row.items,
        generation: row.generation,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::sale::{NewSale, SaleWindow};
    use crate::testing::builders::a_new_sale;
    use crate::testing::contracts::sale_store::sale_store_contract;
    use crate::testing::contracts::{Scene, ShopWorld, Terms};
    use crate::testing::servers::PostgresShop;

    sale_store_contract!(PostgresShop::open().await);

    async fn an_hour_from_now(shop: &PostgresShop) -> NewSale {
        let window = SaleWindow::lasting(shop.now().await, Duration::from_hours(1));
        a_new_sale(1, window.unwrap())
    }

    #[tokio::test]
    async fn while_a_sale_that_needs_partitions_is_written_others_are_created() {
        let shop = PostgresShop::open().await;
        Scene::open(&shop, Terms::unique(1)).await;
        let (one, other) = (shop.instance().await, shop.instance().await);
        let new = an_hour_from_now(&shop).await;
        // The next number needs partitions, and its items wait for a row.
        shop.execute("SELECT setval('sale_ids', 99)").await;
        let mut holder = shop.pool.begin().await.unwrap();
        let row = "INSERT INTO items VALUES (100, 1, 'held', 'a name', 'a link')";
        sqlx::query(row).execute(&mut *holder).await.unwrap();

        let (long, ()) = tokio::join!(one.sales.create(&new, "test"), async {
            shop.wait_until_blocked().await;
            tokio::select! {
                created = other.sales.create(&new, "test") => {
                    assert_eq!(created.unwrap().unwrap().id, SaleId::new(101).unwrap());
                }
                () = shop.wait_until_as_many_are_blocked(2) => panic!("it waits for the other"),
            }
            holder.rollback().await.unwrap();
        });

        assert_eq!(long.unwrap().unwrap().id, SaleId::new(100).unwrap());
    }

    #[tokio::test]
    async fn partitions_of_a_number_that_became_no_sale_harm_nothing() {
        let shop = PostgresShop::open().await;
        let store = shop.instance().await;
        // A process that dies between the two transactions of a creation leaves this behind.
        shop.execute("SELECT setval('sale_ids', 300, false)").await;
        shop.execute("SELECT ensure_partitions(nextval('sale_ids'))").await;

        let created = store.sales.create(&an_hour_from_now(&shop).await, "test").await;

        assert_eq!(created.unwrap().unwrap().id, SaleId::new(301).unwrap());
        let scene = Scene::open(&shop, Terms::stocked(2, 2)).await;
        let attempt = scene.attempt("ann", &[(1, 1), (2, 1)]).await;
        assert_eq!(scene.decided(attempt).await.outcome.sold().count(), 2);
        assert_eq!(store.sales.find(SaleId::new(300).unwrap()).await.unwrap(), None);
    }
}
