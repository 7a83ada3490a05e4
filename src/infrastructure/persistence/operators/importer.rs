//! Imports of items, copied into PostgreSQL batch by batch in one transaction.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use serde_json::json;
use sqlx::PgConnection;

use super::locked_sale::locked_sale;
use super::record::Record;
use crate::application::ports::{
    ImportRefusal, ImportTarget, Imported, ImportedSale, ItemBatches, ItemImporter, PortError,
};
use crate::domain::ids::SaleId;
use crate::domain::import::NewItem;
use crate::domain::sale_edit::MIN_AHEAD;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::pool::tx::{Options, Tx};
use crate::infrastructure::persistence::sale::store::number_with_partitions;

/// Longest time of an import, also of one whose rows come slowly.
const TIMEOUT: Duration = Duration::from_mins(30);
/// How often making partitions is repeated after a lost race.
const PARTITION_RETRIES: u32 = 5;

/// The source may be slow. The transaction holds no row that a request waits for.
const WAIT_FOR_SOURCE: &str = r"
    SELECT set_config('idle_in_transaction_session_timeout', '5min', true)
";

pub(crate) const IDS: &str = r"
    SELECT item_id FROM items WHERE sale_id = $1
";

pub(crate) const LAST_NUMBER: &str = r"
    SELECT coalesce(max(item_no), 0) FROM items WHERE sale_id = $1
";

/// The number of items is set when they are known, before the row is visible to others.
const INSERT_SALE: &str = r"
    INSERT INTO sales (id, public_id, name, starts_at, ends_at, buyer_limit, items)
    VALUES ($1, $2, $3, $4, $5, $6, 1)
";

const COPY_ITEMS: &str = "COPY items (sale_id, item_no, item_id, name, image_url) FROM STDIN";
const COPY_STOCK: &str = "COPY item_stock (sale_id, item_no, stock) FROM STDIN";

const SET_ITEMS: &str = r"
    UPDATE sales SET items = $2, generation = generation + $3 WHERE id = $1
    RETURNING starts_at, clock_timestamp()
";

/// Imports items.
pub(crate) struct PostgresItemImporter {
    database: Database,
}

impl PostgresItemImporter {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }

    /// The number of a new sale, in a transaction of its own, as for any new sale.
    async fn new_number(&self) -> Result<i64, DatabaseError> {
        let options = Options { retries: PARTITION_RETRIES, ..Options::WRITE };
        let take = |mut tx: Tx| async move {
            let number = number_with_partitions(&mut tx);
            let number = self.database.time(Statement::CreateSale, number).await?;
            Ok((tx, number))
        };
        self.database.transaction(options, take).await
    }
}

#[async_trait]
impl ItemImporter for PostgresItemImporter {
    async fn import(
        &self,
        target: &ImportTarget,
        items: &mut dyn ItemBatches,
        actor: &str,
    ) -> Result<Result<Imported, ImportRefusal>, PortError> {
        let what = "the import";
        let failed = |error: DatabaseError| error.into_port_error(what);
        let sale = match target {
            ImportTarget::Sale(sale) => *sale,
            ImportTarget::New(_) => SaleId::new(self.new_number().await.map_err(failed)?)
                .ok_or_else(|| failed(DatabaseError::Unreadable("sale_ids")))?,
        };
        let options = Options { timeout: Some(TIMEOUT), ..Options::WRITE };
        let (items, refusal) = (tokio::sync::Mutex::new(items), Mutex::new(None));
        let (items, refused) = (&items, &refusal);
        let imported = self
            .database
            .transaction(options, |mut tx| async move {
                let mut items = items.lock().await;
                let run = import(&mut tx, sale, target, &mut **items, actor);
                match self.database.time(Statement::Import, run).await? {
                    Ok(imported) => Ok((tx, imported)),
                    // Rolls back what was copied so far.
                    Err(refusal) => {
                        *refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
                        Err(DatabaseError::Abandoned)
                    }
                }
            })
            .await;
        let refusal = refusal.into_inner().unwrap_or_else(PoisonError::into_inner);
        match (imported, refusal) {
            (Err(DatabaseError::Abandoned), Some(refusal)) => Ok(Err(refusal)),
            (imported, _) => imported.map(Ok).map_err(failed),
        }
    }
}

async fn import(
    connection: &mut PgConnection,
    sale: SaleId,
    target: &ImportTarget,
    items: &mut dyn ItemBatches,
    actor: &str,
) -> Result<Result<Imported, ImportRefusal>, sqlx::Error> {
    sqlx::query(WAIT_FOR_SOURCE).execute(&mut *connection).await?;
    let before = match target {
        ImportTarget::New(new) => {
            insert_sale(connection, sale, new).await?;
            0
        }
        ImportTarget::Sale(_) => {
            let Some((found, is_cancelled, now)) = locked_sale(connection, sale).await? else {
                return Ok(Err(ImportRefusal::UnknownSale(sale)));
            };
            if is_cancelled || is_near(found.window.starts_at(), now) {
                return Ok(Err(ImportRefusal::ItemsFixed(MIN_AHEAD)));
            }
            exclude_ids(connection, sale, items).await?;
            let last = sqlx::query_scalar(LAST_NUMBER).bind(sale.get());
            last.fetch_one(&mut *connection).await?
        }
    };
    let mut last = before;
    loop {
        match items.next() {
            Ok(batch) if batch.is_empty() => break,
            Ok(batch) => last = copy(connection, sale, last, &batch).await?,
            Err(stop) => return Ok(Err(stop.into())),
        }
    }
    if last == before {
        return Ok(Err(ImportRefusal::Nothing));
    }
    let is_new = matches!(target, ImportTarget::New(_));
    let set = sqlx::query_as(SET_ITEMS).bind(sale.get()).bind(last).bind(i32::from(!is_new));
    let (starts_at, now): (DateTime<Utc>, DateTime<Utc>) = set.fetch_one(&mut *connection).await?;
    if !is_new && is_near(starts_at, now) {
        return Ok(Err(ImportRefusal::ItemsFixed(MIN_AHEAD)));
    }
    let record = Record {
        sale,
        action: if is_new { "created" } else { "imported" },
        actor,
        subject: None,
        before: json!({ "items": before }),
        after: json!({ "items": last }),
    };
    record.write(connection).await?;
    Ok(Ok(Imported { sale, items: last - before, starts_at }))
}

/// Whether buyers can be in the sale before this is committed.
fn is_near(starts_at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    starts_at <= now + MIN_AHEAD
}

async fn insert_sale(
    connection: &mut PgConnection,
    sale: SaleId,
    new: &ImportedSale,
) -> Result<(), sqlx::Error> {
    let insert = sqlx::query(INSERT_SALE).bind(sale.get()).bind(sale.to_string()).bind(&new.name);
    let insert = insert.bind(new.window.starts_at()).bind(new.window.ends_at());
    insert.bind(new.buyer_limit).execute(connection).await?;
    Ok(())
}

async fn exclude_ids(
    connection: &mut PgConnection,
    sale: SaleId,
    items: &mut dyn ItemBatches,
) -> Result<(), sqlx::Error> {
    let mut ids = sqlx::query_scalar(IDS).bind(sale.get()).fetch(connection);
    while let Some(id) = ids.try_next().await? {
        let id: String = id;
        items.exclude(&id);
    }
    Ok(())
}

/// Copies a batch under the numbers that follow `last`. Returns the last number.
async fn copy(
    connection: &mut PgConnection,
    sale: SaleId,
    last: i32,
    batch: &[NewItem],
) -> Result<i32, sqlx::Error> {
    let (mut items, mut stock) = (String::new(), String::new());
    let (sale, mut number) = (sale.get(), last);
    for item in batch {
        number += 1;
        let (id, name, url) =
            (escaped(item.id.as_str()), escaped(&item.name), escaped(&item.image_url));
        // Writing to a text cannot fail.
        let _ = writeln!(items, "{sale}\t{number}\t{id}\t{name}\t{url}");
        let _ = writeln!(stock, "{sale}\t{number}\t{}", item.stock);
    }
    for (statement, text) in [(COPY_ITEMS, items), (COPY_STOCK, stock)] {
        let mut copy = connection.copy_in_raw(statement).await?;
        copy.send(text.as_bytes()).await?;
        copy.finish().await?;
    }
    Ok(number)
}

/// A text in the format of COPY. There are no control characters in it, so the backslash is all.
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::ImportStop;
    use crate::domain::ids::ItemNo;
    use crate::testing::builders::item_id;
    use crate::testing::contracts::{Scene, Terms};
    use crate::testing::servers::PostgresShop;

    /// Batches that are ready.
    #[derive(Default)]
    struct Ready {
        batches: Vec<Vec<NewItem>>,
        excluded: Vec<String>,
        stops: bool,
    }

    impl ItemBatches for Ready {
        fn exclude(&mut self, id: &str) {
            self.excluded.push(id.to_owned());
        }

        fn next(&mut self) -> Result<Vec<NewItem>, ImportStop> {
            match self.batches.pop() {
                None if self.stops => Err(ImportStop::Rejected),
                batch => Ok(batch.unwrap_or_default()),
            }
        }
    }

    fn item(id: &str) -> NewItem {
        NewItem { id: item_id(id), name: r"a\tb".to_owned(), image_url: "u".to_owned(), stock: 3 }
    }

    fn two_batches() -> Ready {
        let batches = vec![vec![item(r"\N")], vec![item("a/b"), item(r"\.")]];
        Ready { batches, ..Ready::default() }
    }

    #[tokio::test]
    async fn batches_get_the_numbers_that_follow_and_a_new_generation() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::unique(2)).await;
        scene.postpone().await;
        let before = scene.instance.sales.find(scene.sale).await.unwrap().unwrap();
        let store = PostgresItemImporter::new(shop.database().await);
        let mut items = two_batches();

        let target = ImportTarget::Sale(scene.sale);
        let imported = store.import(&target, &mut items, "eve").await.unwrap().unwrap();

        assert_eq!(imported.items, 3);
        items.excluded.sort_unstable();
        assert_eq!(items.excluded, ["1", "2"]);
        let after = scene.instance.sales.find(scene.sale).await.unwrap().unwrap();
        assert_eq!((after.items, after.generation), (5, before.generation + 1));
        let catalogue = scene.instance.items.catalogue(scene.sale).await.unwrap();
        for (id, no) in [("a/b", 3), (r"\.", 4), (r"\N", 5)] {
            assert_eq!(catalogue.find(&item_id(id)), Some(ItemNo(no)), "{id}");
        }
        assert_eq!(scene.progress().await.remaining, 11);
    }

    #[tokio::test]
    async fn an_import_that_is_stopped_or_not_on_record_leaves_nothing() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::unique(2)).await;
        scene.postpone().await;
        let store = PostgresItemImporter::new(shop.database().await);
        let target = ImportTarget::Sale(scene.sale);
        let before = scene.instance.sales.find(scene.sale).await.unwrap();
        let mut stopped = Ready { stops: true, ..two_batches() };

        let stopped = store.import(&target, &mut stopped, "eve").await.unwrap();
        let unrecorded = store.import(&target, &mut two_batches(), &"x".repeat(201)).await;

        assert!(matches!(stopped, Err(ImportRefusal::Stopped(ImportStop::Rejected))));
        assert!(unrecorded.is_err());
        assert_eq!(scene.instance.sales.find(scene.sale).await.unwrap(), before);
        assert_eq!(scene.progress().await.remaining, 2);
    }
}
