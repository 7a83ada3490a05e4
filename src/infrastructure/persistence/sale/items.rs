//! A sale's items and their stock, read from PostgreSQL.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use sqlx::{PgConnection, Postgres};
use tokio::sync::Semaphore;

use crate::application::catalogue::{Catalogue, CatalogueBuilder, Item};
use crate::application::ports::{
    Cursor, CursorPage, ItemReader, PageRequest, PortError, StockFacts, StockSnapshot, StockedItem,
};
use crate::domain::ids::{ItemId, ItemNo, SaleId};
use crate::domain::sale::Progress;
use crate::infrastructure::persistence::partitions::{Partitions, SaleRange, Statements};
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::pool::tx::Options;
use crate::infrastructure::persistence::row::from_row;

/// Maximum number of catalogue items that one statement reads. It bounds the memory and the time of a statement.
const CHUNK: i32 = 20_000;
const CHUNK_ITEMS: usize = CHUNK.unsigned_abs() as usize;
/// Chunks that are read at a time: the server is at work on one while the one before it is taken in.
const CHUNKS_AT_A_TIME: usize = 2;
const CATALOGUE: &str = "the catalogue";
/// Maximum number of reads at a time that may scan a whole sale for available items.
const MAX_SCANS: usize = 1;
/// Longest time of a snapshot over a large sale.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_mins(1);

// One row of arrays, in the order of the rows: a row for each item would take the driver several times as long.
pub(crate) const CHUNK_OF_ITEMS: &str = r"
    SELECT coalesce(array_agg(item_no), '{}'), coalesce(array_agg(item_id), '{}'), coalesce(array_agg(name), '{}'),
           coalesce(array_agg(image_url), '{}')
    FROM (
        SELECT item_no, item_id, name, image_url
        FROM items{of_sale}
        WHERE sale_id = $1 AND item_no > $2
        ORDER BY item_no
        LIMIT $3
    ) AS chunk
";

pub(crate) const NAMED: &str = r"
    SELECT i.item_no, i.item_id, i.name, i.image_url
    FROM unnest($2::int[]) AS t(item_no)
    CROSS JOIN LATERAL (
        SELECT item_no, item_id, name, image_url FROM items{of_sale}
        WHERE sale_id = $1 AND item_no = t.item_no
        OFFSET 0
    ) AS i
";

pub(crate) const BY_ID: &str = r"
    SELECT i.item_no, i.item_id, i.name, i.image_url
    FROM unnest($2::text[]) AS t(item_id)
    CROSS JOIN LATERAL (
        SELECT item_no, item_id, name, image_url FROM items{of_sale}
        WHERE sale_id = $1 AND item_id = t.item_id
        OFFSET 0
    ) AS i
";

// Numbers usually have no gaps: then the place of a page is its number, and the items before it need not be counted.
pub(crate) const PAGE: &str = r"
    WITH numbers AS MATERIALIZED (
        SELECT max(item_no) = (SELECT items FROM sales WHERE id = $1) AS have_no_gaps
        FROM item_stock{of_sale}
        WHERE sale_id = $1
    )
    SELECT item_no, stock, stock - sold
    FROM item_stock{of_sale}
    WHERE sale_id = $1 AND item_no > (SELECT CASE WHEN have_no_gaps THEN $3 ELSE 0 END FROM numbers)
    ORDER BY item_no
    LIMIT $2 OFFSET (SELECT CASE WHEN have_no_gaps THEN 0 ELSE $3 END FROM numbers)
";

pub(crate) const AVAILABLE_PAGE: &str = r"
    SELECT item_no, stock, stock - sold
    FROM item_stock{of_sale}
    WHERE sale_id = $1 AND sold < stock
    ORDER BY item_no
    LIMIT $2 OFFSET $3
";

/// Maximum number of items that a page of available items scans at first. There is no index on remaining pieces, because each
/// purchase would have to update it.
const SCAN_LIMIT: u32 = 2_000;
/// Maximum number that each further statement scans, if none of those before was available. These scans run one at a time.
const LONG_SCAN_LIMIT: u32 = 20_000;

// Returns one row of arrays; the last number is that of the last item scanned.
pub(crate) const LIST: &str = r"
    SELECT coalesce(array_agg(item_no ORDER BY item_no) FILTER (WHERE NOT $4 OR sold < stock), '{}'),
           coalesce(array_agg(stock ORDER BY item_no) FILTER (WHERE NOT $4 OR sold < stock), '{}'),
           coalesce(array_agg(stock - sold ORDER BY item_no) FILTER (WHERE NOT $4 OR sold < stock), '{}'),
           count(*), max(item_no)
    FROM (
        SELECT item_no, stock, sold FROM item_stock{of_sale}
        WHERE sale_id = $1 AND item_no > $2
        ORDER BY item_no
        LIMIT $3
    ) AS s
";

pub(crate) const PROGRESS: &str = r"
    SELECT t.sale_id, s.sold, s.remaining, s.available
    FROM unnest($1::bigint[]) AS t(sale_id)
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(sold), 0)::bigint AS sold, coalesce(sum(stock - sold), 0)::bigint AS remaining,
               count(*) FILTER (WHERE sold < stock) AS available
        FROM item_stock{of_sale}
        WHERE sale_id = t.sale_id
        OFFSET 0
    ) AS s
";

// One pass over the stock, which returns only the totals and the items that are sold out.
pub(crate) const STOCK: &str = r"
    SELECT s.generation, t.pieces, t.items, t.sold
    FROM sales AS s
    CROSS JOIN (
        SELECT coalesce(sum(stock), 0)::bigint AS pieces,
               coalesce(array_agg(item_no) FILTER (WHERE sold >= stock), '{}') AS items,
               coalesce(array_agg(sold) FILTER (WHERE sold >= stock), '{}') AS sold
        FROM item_stock{of_sale}
        WHERE sale_id = $1
    ) AS t
    WHERE s.id = $1
";

pub(crate) const SOLD_OUT_AMONG: &str = r"
    SELECT s.generation, g.items
    FROM sales AS s
    CROSS JOIN (
        SELECT coalesce(array_agg(t.item_no), '{}') AS items
        FROM unnest($2::int[]) AS t(item_no)
        CROSS JOIN LATERAL (
            SELECT 1 FROM item_stock{of_sale}
            WHERE sale_id = $1 AND item_no = t.item_no AND sold >= stock
            OFFSET 0
        ) AS gone
    ) AS g
    WHERE s.id = $1
";

/// The templates for [`Partitions`], and their indexes.
const STATEMENTS: [&str; 9] =
    [CHUNK_OF_ITEMS, NAMED, BY_ID, PAGE, AVAILABLE_PAGE, LIST, PROGRESS, STOCK, SOLD_OUT_AMONG];
const CHUNK_AT: usize = 0;
const NAMED_AT: usize = 1;
const BY_ID_AT: usize = 2;
const PAGE_AT: usize = 3;
const AVAILABLE_PAGE_AT: usize = 4;
const LIST_AT: usize = 5;
const PROGRESS_AT: usize = 6;
const STOCK_AT: usize = 7;
const SOLD_OUT_AMONG_AT: usize = 8;

/// Reads items.
pub(crate) struct PostgresItemReader {
    database: Database,
    partitions: Partitions<9>,
    /// Pages of available items that are read at a time: in a sale that is nearly sold out each scans all items.
    scans: Semaphore,
}

from_row! {
    #[derive(Debug)]
    struct ItemRow {
        item_no: i32,
        item_id: String,
        name: String,
        image_url: String,
    }
}

/// Numbers, ids, names and links of items.
type Chunk = (Vec<i32>, Vec<String>, Vec<String>, Vec<String>);
/// Numbers, stock and remaining pieces by item; the number of items scanned, and the last of them.
type Found = (Vec<i32>, Vec<i32>, Vec<i32>, i64, Option<i32>);

impl PostgresItemReader {
    pub(crate) fn new(database: Database) -> Self {
        Self { database, partitions: Partitions::new(STATEMENTS), scans: Semaphore::new(MAX_SCANS) }
    }

    /// The items after this one, as many as a chunk has.
    async fn chunk(&self, sale: SaleId, after: i32) -> Result<Chunk, PortError> {
        let chunk = self.partitions.read(
            &self.database,
            (Statement::Catalogue, CATALOGUE),
            sale,
            |mut connection, statements| async move {
                let query = sqlx::query_as(statements.get(CHUNK_AT)).bind(sale.get());
                query.bind(after).bind(CHUNK).fetch_one(&mut *connection).await
            },
        );
        chunk.await
    }

    /// The items with these keys: ids or numbers, as the statement takes them.
    async fn named<K>(
        &self,
        sale: SaleId,
        template: usize,
        keys: &Vec<K>,
    ) -> Result<Vec<Item>, PortError>
    where
        K: Sync,
        for<'q> &'q Vec<K>: sqlx::Encode<'q, Postgres> + sqlx::Type<Postgres>,
    {
        let statement = (Statement::Read, "the items");
        let named = self.partitions.read(
            &self.database,
            statement,
            sale,
            |mut connection, statements| async move {
                let query = sqlx::query_as(statements.get(template)).bind(sale.get());
                query.bind(keys).fetch_all(&mut *connection).await
            },
        );
        let rows: Vec<ItemRow> = named.await?;
        Ok(rows.into_iter().filter_map(item_of).collect())
    }

    /// The items, or those with a piece left, among this many after an item.
    async fn scan(
        &self,
        sale: SaleId,
        last: i32,
        (available, scanned): (bool, u32),
    ) -> Result<Found, PortError> {
        let statement = (Statement::Read, "the items");
        let found = self.partitions.read(
            &self.database,
            statement,
            sale,
            |mut connection, statements| async move {
                let query = sqlx::query_as(statements.get(LIST_AT)).bind(sale.get()).bind(last);
                let query = query.bind(i64::from(scanned)).bind(available);
                query.fetch_one(&mut *connection).await
            },
        );
        found.await
    }

    /// Items by number, stock and remaining pieces.
    async fn stocked(
        &self,
        sale: SaleId,
        rows: Vec<(i32, i32, i32)>,
    ) -> Result<Vec<StockedItem>, PortError> {
        let numbers: Vec<ItemNo> = rows.iter().map(|(number, ..)| ItemNo(*number)).collect();
        let items = self.by_number(sale, &numbers).await?;
        let mut items: HashMap<i32, Item> =
            items.into_iter().map(|item| (item.no.0, item)).collect();
        let entries = rows.into_iter().filter_map(|(number, stock, remaining)| {
            Some(StockedItem { item: items.remove(&number)?, stock, remaining })
        });
        Ok(entries.collect())
    }
}

#[async_trait]
impl ItemReader for PostgresItemReader {
    async fn catalogue(&self, sale: SaleId) -> Result<Catalogue, PortError> {
        let mut builder = CatalogueBuilder::default();
        let (mut last, mut at_a_time) = (0, 1);
        loop {
            // Numbers usually have no gaps: then it is known where the next chunk begins before this one is there.
            let begins = (last..=i32::MAX).step_by(CHUNK_ITEMS);
            let chunks = begins.map(|after| async move { (after, self.chunk(sale, after).await) });
            let mut chunks = pin!(stream::iter(chunks).buffered(at_a_time));
            while let Some((after, chunk)) = chunks.next().await {
                let (numbers, ids, names, links) = chunk?;
                let texts = ids.iter().zip(&names).zip(&links);
                for (number, ((id, name), link)) in numbers.iter().zip(texts) {
                    builder.push(ItemNo(*number), id, name, link).map_err(|error| {
                        PortError::Broken { what: CATALOGUE, source: error.into() }
                    })?;
                }
                // The last chunk is the one that is not full.
                match numbers.last() {
                    Some(number) if numbers.len() >= CHUNK_ITEMS => last = *number,
                    _ => return Ok(builder.build()),
                }
                let has_gaps = last - after != CHUNK;
                if has_gaps || at_a_time == 1 {
                    at_a_time = if has_gaps { 1 } else { CHUNKS_AT_A_TIME };
                    break;
                }
            }
        }
    }

    async fn by_id(&self, sale: SaleId, items: &[ItemId]) -> Result<Vec<Item>, PortError> {
        let ids: Vec<&str> = items.iter().map(ItemId::as_str).collect();
        self.named(sale, BY_ID_AT, &ids).await
    }

    async fn by_number(&self, sale: SaleId, items: &[ItemNo]) -> Result<Vec<Item>, PortError> {
        let numbers: Vec<i32> = items.iter().map(|item| item.0).collect();
        self.named(sale, NAMED_AT, &numbers).await
    }

    async fn page(
        &self,
        sale: SaleId,
        available: bool,
        page: PageRequest,
    ) -> Result<Vec<StockedItem>, PortError> {
        let _scan = if available { self.scans.acquire().await.ok() } else { None };
        let template = if available { AVAILABLE_PAGE_AT } else { PAGE_AT };
        let statement = (Statement::Read, "the items");
        let rows = self.partitions.read(
            &self.database,
            statement,
            sale,
            |mut connection, statements| async move {
                let query = sqlx::query_as(statements.get(template)).bind(sale.get());
                let query = query.bind(i64::from(page.limit)).bind(page.offset());
                query.fetch_all(&mut *connection).await
            },
        );
        let rows: Vec<(i32, i32, i32)> = rows.await?;
        self.stocked(sale, rows).await
    }

    async fn list(
        &self,
        sale: SaleId,
        available: bool,
        after: Cursor<ItemNo>,
    ) -> Result<CursorPage<StockedItem, ItemNo>, PortError> {
        // One more than the limit shows whether there is a next page.
        let mut scanned = if available { SCAN_LIMIT } else { after.limit.saturating_add(1) };
        let mut last = after.entry.map_or(0, |item| item.0);
        let mut scan = None;
        let found = loop {
            let found = self.scan(sale, last, (available, scanned)).await?;
            let (numbers, .., count, end) = &found;
            match end {
                // An empty page before the end would look like a sale that is sold out.
                Some(end) if numbers.is_empty() && *count >= i64::from(scanned) => last = *end,
                _ => break found,
            }
            scanned = LONG_SCAN_LIMIT;
            if scan.is_none() {
                scan = self.scans.acquire().await.ok();
            }
        };
        let (mut numbers, stock, remaining, count, last) = found;
        let limit = usize::try_from(after.limit).unwrap_or(usize::MAX);
        let next = if numbers.len() > limit {
            numbers.truncate(limit);
            numbers.last().copied().map(ItemNo)
        } else {
            last.filter(|_| count >= i64::from(scanned)).map(ItemNo)
        };
        let pieces = stock.into_iter().zip(remaining);
        let rows = numbers.into_iter().zip(pieces).map(|(no, (stock, left))| (no, stock, left));
        Ok(CursorPage { entries: self.stocked(sale, rows.collect()).await?, next })
    }

    async fn progress(&self, sales: &[SaleId]) -> Result<Vec<(SaleId, Progress)>, PortError> {
        let statement = (Statement::Read, "the sale's progress");
        let mut progress = Vec::with_capacity(sales.len());
        for SaleRange { first, end, of } in SaleRange::partitions_of(sales.iter().copied()) {
            let numbers = sales.iter().map(|sale| sale.get());
            let numbers: &Vec<i64> = &numbers.filter(|sale| (first..end).contains(sale)).collect();
            let sums = self.partitions.read(
                &self.database,
                statement,
                of,
                |mut connection, statements| async move {
                    let query = sqlx::query_as(statements.get(PROGRESS_AT)).bind(numbers);
                    query.fetch_all(&mut *connection).await
                },
            );
            let rows: Vec<(i64, i64, i64, i64)> = sums.await?;
            progress.extend(rows.into_iter().filter_map(
                |(sale, sold, remaining, available_items)| {
                    Some((SaleId::new(sale)?, Progress { sold, remaining, available_items }))
                },
            ));
        }
        Ok(progress)
    }

    async fn sold_out_among(
        &self,
        sale: SaleId,
        items: &[ItemNo],
    ) -> Result<StockFacts, PortError> {
        let numbers: &Vec<i32> = &items.iter().map(|item| item.0).collect();
        let statement = (Statement::Read, "the sold-out items");
        let sold_out = self.partitions.read(
            &self.database,
            statement,
            sale,
            |mut connection, statements| async move {
                let query = sqlx::query_as(statements.get(SOLD_OUT_AMONG_AT)).bind(sale.get());
                query.bind(numbers).fetch_optional(&mut *connection).await
            },
        );
        let found: Option<(i64, Vec<i32>)> = sold_out.await?;
        let (generation, sold_out) = found.unwrap_or_default();
        let sold_out = sold_out.into_iter().map(ItemNo).collect();
        Ok(StockFacts { generation, sold_out, sold: Vec::new() })
    }

    async fn stock(&self, sale: SaleId) -> Result<StockSnapshot, PortError> {
        let options = Options { timeout: Some(SNAPSHOT_TIMEOUT), ..Options::SNAPSHOT };
        self.partitions
            .snapshot(&self.database, options, sale, |mut tx, statements| async move {
                let stock = stock_of(&mut tx, &statements, sale);
                let stock = self.database.time(Statement::Read, stock).await?;
                Ok((tx, stock))
            })
            .await
            .map_err(|error| error.into_port_error("the stock"))
    }
}

async fn stock_of(
    connection: &mut PgConnection,
    statements: &Statements<9>,
    sale: SaleId,
) -> Result<StockSnapshot, sqlx::Error> {
    let query = sqlx::query_as(statements.get(STOCK_AT)).bind(sale.get());
    let whole: Option<(i64, i64, Vec<i32>, Vec<i32>)> = query.fetch_optional(connection).await?;
    let Some((generation, pieces, items, sold)) = whole else {
        return Ok(StockSnapshot::default());
    };
    let sold_out: Vec<ItemNo> = items.into_iter().map(ItemNo).collect();
    let sold = sold_out.iter().copied().zip(sold).collect();
    Ok(StockSnapshot { facts: StockFacts { generation, sold_out, sold }, pieces })
}

fn item_of(row: ItemRow) -> Option<Item> {
    Some(Item {
        no: ItemNo(row.item_no),
        id: ItemId::parse(&row.item_id).ok()?,
        name: row.name,
        image_url: row.image_url,
    })
}

#[cfg(test)]
mod tests {
    use sqlx::AssertSqlSafe;

    use super::*;
    use crate::infrastructure::persistence::partitions::for_partition;
    use crate::testing::contracts::item_reader::item_reader_contract;
    use crate::testing::contracts::{Scene, Terms};
    use crate::testing::servers::PostgresShop;

    item_reader_contract!(PostgresShop::open().await);

    #[tokio::test]
    async fn pages_go_by_place_where_numbers_have_gaps() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::unique(9)).await;
        for table in ["items", "item_stock"] {
            shop.execute(&format!("DELETE FROM {table} WHERE item_no IN (1, 4, 5)")).await;
        }
        shop.execute("UPDATE sales SET items = 6").await;

        let mut pages = Vec::new();
        for page in 1..=4 {
            let page = PageRequest { page, limit: 2 };
            let page = scene.instance.items.page(scene.sale, false, page).await.unwrap();
            pages.push(page.iter().map(|entry| entry.item.no.0).collect::<Vec<_>>());
        }

        assert_eq!(pages, [vec![2, 3], vec![6, 7], vec![8, 9], vec![]]);
    }

    #[tokio::test]
    async fn a_catalogue_of_several_chunks_has_every_item_once_with_and_without_gaps() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::unique(1)).await;
        let last = 3 * CHUNK + 10;
        let insert = format!(
            "INSERT INTO items (sale_id, item_no, item_id, name, image_url)
             SELECT {}, n, 'id ' || n, 'name ' || n, '/' || n FROM generate_series(2, {last}) AS n",
            scene.sale.get()
        );
        shop.execute(&insert).await;
        let numbers = async || {
            let catalogue = scene.instance.items.catalogue(scene.sale).await.unwrap();
            let has = |number: &i32| catalogue.item(ItemNo(*number)).is_some();
            ((1..=last + 1).filter(has).collect::<Vec<_>>(), catalogue.len())
        };

        assert_eq!(numbers().await, ((1..=last).collect(), last.unsigned_abs() as usize));

        // Inside the second chunk, and at the end of the first.
        let gaps = [CHUNK + 5, CHUNK + 6, CHUNK];
        shop.execute(&format!("DELETE FROM items WHERE item_no = ANY (ARRAY{gaps:?})")).await;
        let left: Vec<i32> = (1..=last).filter(|number| !gaps.contains(number)).collect();
        let count = left.len();
        assert_eq!(numbers().await, (left, count));
    }

    #[tokio::test]
    async fn a_list_of_available_items_is_empty_only_at_the_end() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::unique(2_600)).await;
        shop.execute("UPDATE item_stock SET sold = stock WHERE item_no <= 2100").await;
        let list = async |entry| {
            let after = Cursor { entry, limit: 20 };
            let page = scene.instance.items.list(scene.sale, true, after).await.unwrap();
            (page.entries.iter().map(|entry| entry.item.no.0).collect::<Vec<_>>(), page.next)
        };

        let (first, next) = list(None).await;
        shop.execute("UPDATE item_stock SET sold = stock").await;

        assert_eq!((first, next), ((2_101..=2_120).collect(), Some(ItemNo(2_120))));
        assert_eq!(list(None).await, (Vec::new(), None));
        assert_eq!(list(Some(ItemNo(2_120))).await, (Vec::new(), None));
    }

    /// The plan of a statement, in a session that prefers to divide it among processes.
    async fn plan(connection: &mut PgConnection, statement: &str) -> String {
        for setting in [
            "parallel_setup_cost = 0",
            "parallel_tuple_cost = 0",
            "min_parallel_table_scan_size = 0",
            "min_parallel_index_scan_size = 0",
        ] {
            let set = format!("SET {setting}");
            sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut *connection).await.unwrap();
        }
        let statement = for_partition(statement, "_from_0");
        let statement = statement.replace("$1::bigint[]", "ARRAY[1]").replace("$1", "1");
        let statement = statement.replace("$2", "10").replace("$3", "1000");
        let explain = sqlx::query_scalar(AssertSqlSafe(format!("EXPLAIN {statement}")));
        let lines: Vec<String> = explain.fetch_all(connection).await.unwrap();
        lines.join("\n")
    }

    #[tokio::test]
    async fn no_read_of_a_front_end_takes_several_processes_of_the_server() {
        let shop = PostgresShop::open().await;
        Scene::open(&shop, Terms::unique(9)).await;
        shop.execute("INSERT INTO item_stock SELECT 1, n, 1 FROM generate_series(10, 50000) AS n; ANALYZE item_stock").await;
        let database = shop.database().await;
        let mut connection = database.acquire().await.unwrap();

        for statement in [PAGE, AVAILABLE_PAGE, LIST, PROGRESS, STOCK] {
            let plan = plan(&mut connection, &statement.replace("$4", "true")).await;
            assert!(!plan.contains("Gather"), "{plan}");
        }

        let allow = "SET max_parallel_workers_per_gather = 4";
        sqlx::raw_sql(allow).execute(&mut *connection).await.unwrap();
        let divided = plan(&mut connection, STOCK).await;
        assert!(divided.contains("Gather"), "the test proves nothing: {divided}");
    }
}
