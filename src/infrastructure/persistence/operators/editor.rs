//! Changes of sales and of their stock, in PostgreSQL.

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::locked_sale::{locked_sale, raise_generation, readable};
use super::record::Record;
use crate::application::ports::{EditedSale, PortError, SaleEditor};
use crate::domain::ids::{ItemId, SaleId};
use crate::domain::restock::{RestockRefusal, Stock};
use crate::domain::sale::SaleState;
use crate::domain::sale_edit::{SaleEdit, SaleEditRefusal, SaleTerms};
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::pool::tx::{Options, Tx};
use crate::infrastructure::persistence::sale::store::SaleRow;

/// The constraint that keeps a window round what happened in it.
const WINDOW_KEEPS_RECORD: &str = "sales_window_keeps_record";

pub(crate) const UPDATE_SALE: &str = r"
    UPDATE sales
    SET name = $2, starts_at = $3, ends_at = $4, buyer_limit = $5, generation = generation + 1,
        cancelled_at = CASE WHEN $6 THEN coalesce(cancelled_at, clock_timestamp()) END
    WHERE id = $1
    RETURNING id, name, schedule, starts_at, ends_at, buyer_limit, items, generation
";

pub(crate) const LOCK_STOCK: &str = r"
    SELECT s.item_no, s.stock, s.sold
    FROM items AS i
    JOIN item_stock AS s ON s.sale_id = i.sale_id AND s.item_no = i.item_no
    WHERE i.sale_id = $1 AND i.item_id = $2
    FOR UPDATE OF s
";

const UPDATE_STOCK: &str = r"
    UPDATE item_stock SET stock = $3 WHERE sale_id = $1 AND item_no = $2
";

/// Changes sales.
pub(crate) struct PostgresSaleEditor {
    database: Database,
}

impl PostgresSaleEditor {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }
}

#[async_trait]
impl SaleEditor for PostgresSaleEditor {
    async fn edit(
        &self,
        sale: SaleId,
        edit: &SaleEdit,
        actor: &str,
    ) -> Result<Result<EditedSale, SaleEditRefusal>, PortError> {
        let edited = self
            .database
            .transaction(Options::RETRIED, |mut tx| async move {
                let edited = edit_sale(&mut tx, sale, (edit, actor));
                let edited = self.database.time(Statement::EditSale, edited).await?;
                Ok((tx, edited))
            })
            .await;
        match edited {
            // Deferred to the commit, so that what was collected meanwhile counts too.
            Err(error) if error.violates(WINDOW_KEEPS_RECORD) => {
                Ok(Err(SaleEditRefusal::RecordOutside))
            }
            edited => edited.map_err(|error| error.into_port_error("the change of the sale")),
        }
    }

    async fn restock(
        &self,
        sale: SaleId,
        item: &ItemId,
        pieces: i32,
        actor: &str,
    ) -> Result<Result<Stock, RestockRefusal>, PortError> {
        self.database
            .transaction(Options::RETRIED, |mut tx: Tx| async move {
                let restocked = restock(&mut tx, sale, (item, pieces, actor));
                let restocked = self.database.time(Statement::EditSale, restocked).await?;
                Ok((tx, restocked))
            })
            .await
            .map_err(|error| error.into_port_error("the restock"))
    }
}

async fn edit_sale(
    connection: &mut PgConnection,
    id: SaleId,
    (edit, actor): (&SaleEdit, &str),
) -> Result<Result<EditedSale, SaleEditRefusal>, sqlx::Error> {
    let Some((sale, is_cancelled, now)) = locked_sale(connection, id).await? else {
        return Ok(Err(SaleEditRefusal::Unknown(id)));
    };
    let terms = match edit.apply(&sale, is_cancelled, now) {
        Ok(terms) => terms,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let before = SaleTerms::of(&sale, is_cancelled);
    if terms == before {
        return Ok(Ok(EditedSale { sale, is_cancelled, is_changed: false }));
    }
    let updated: SaleRow = sqlx::query_as(UPDATE_SALE)
        .bind(id.get())
        .bind(&terms.name)
        .bind(terms.window.starts_at())
        .bind(terms.window.ends_at())
        .bind(terms.buyer_limit)
        .bind(terms.is_cancelled)
        .fetch_one(&mut *connection)
        .await?;
    let sale = readable(updated)?;
    let record = Record {
        sale: id,
        action: match edit {
            SaleEdit::Change(_) => "changed",
            SaleEdit::End => "ended",
            SaleEdit::Cancel => "cancelled",
        },
        actor,
        subject: None,
        before: shown(&before),
        after: shown(&SaleTerms::of(&sale, terms.is_cancelled)),
    };
    record.write(connection).await?;
    Ok(Ok(EditedSale { sale, is_cancelled: terms.is_cancelled, is_changed: true }))
}

async fn restock(
    connection: &mut PgConnection,
    id: SaleId,
    (item, pieces, actor): (&ItemId, i32, &str),
) -> Result<Result<Stock, RestockRefusal>, sqlx::Error> {
    let found: Option<(i32, i32, i32)> = sqlx::query_as(LOCK_STOCK)
        .bind(id.get())
        .bind(item.as_str())
        .fetch_optional(&mut *connection)
        .await?;
    let Some((sale, is_cancelled, now)) = locked_sale(connection, id).await? else {
        return Ok(Err(RestockRefusal::UnknownSale(id)));
    };
    let Some((number, pieces_before, sold)) = found else {
        return Ok(Err(RestockRefusal::UnknownItem(item.as_str().to_owned())));
    };
    if is_cancelled || sale.window.state_at(now) == SaleState::Ended {
        return Ok(Err(RestockRefusal::Ended));
    }
    let before = Stock { pieces: pieces_before, sold };
    let after = match before.restocked(pieces) {
        Ok(after) => after,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let update = sqlx::query(UPDATE_STOCK).bind(id.get()).bind(number).bind(after.pieces);
    update.execute(&mut *connection).await?;
    raise_generation(connection, id).await?;
    let record = Record {
        sale: id,
        action: "restocked",
        actor,
        subject: Some(format!("item {}", item.as_str())),
        before: json!({ "stock": before.pieces, "sold": before.sold }),
        after: json!({ "stock": after.pieces, "sold": after.sold }),
    };
    record.write(connection).await?;
    Ok(Ok(after))
}

/// Terms in the audit.
fn shown(terms: &SaleTerms) -> Value {
    let text = |moment: DateTime<Utc>| moment.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    json!({
        "name": terms.name,
        "starts_at": text(terms.window.starts_at()),
        "ends_at": text(terms.window.ends_at()),
        "buyer_limit": terms.buyer_limit,
        "cancelled": terms.is_cancelled,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::ids::ItemNo;
    use crate::domain::sale_edit::SaleChange;
    use crate::testing::builders::{item_id, sale_id};
    use crate::testing::contracts::{Scene, Terms};
    use crate::testing::servers::PostgresShop;

    async fn editor(shop: &PostgresShop) -> Arc<dyn SaleEditor> {
        Arc::new(PostgresSaleEditor::new(shop.database().await))
    }

    fn named(name: &str) -> SaleEdit {
        SaleEdit::Change(SaleChange { name: Some(name.to_owned()), ..SaleChange::default() })
    }

    /// Action, actor, subject, stock or name before and after, of all changes in order.
    async fn audit(shop: &PostgresShop) -> Vec<String> {
        let sql = "SELECT concat_ws(' ', action, actor, subject, coalesce(before ->> 'stock', before ->> 'name'), '>',
                          coalesce(after ->> 'stock', after ->> 'name'))
                   FROM sale_audit WHERE action <> 'created' ORDER BY id";
        sqlx::query_scalar(sql).fetch_all(&shop.pool).await.unwrap()
    }

    async fn generation(scene: &Scene<'_>) -> i64 {
        scene.instance.sales.find(scene.sale).await.unwrap().unwrap().generation
    }

    #[tokio::test]
    async fn restocked_pieces_sell_under_a_new_generation_and_are_on_record() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::unique(2)).await;
        let attempt = scene.attempt("ann", &[(2, 1)]).await;
        scene.decided(attempt).await;
        let before = generation(&scene).await;
        let editor = editor(&shop).await;

        let stock = editor.restock(scene.sale, &item_id("2"), 5, "eve").await.unwrap();

        assert_eq!(stock, Ok(Stock { pieces: 6, sold: 1 }));
        assert_eq!(generation(&scene).await, before + 1);
        assert_eq!(audit(&shop).await, ["restocked eve item 2 1 > 6"]);
        let attempt = scene.attempt("bob", &[(2, 5)]).await;
        assert_eq!(scene.decided(attempt).await.outcome.sold().count(), 1);
    }

    #[tokio::test]
    async fn a_refused_restock_changes_nothing() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(1, 2)).await;
        let attempt = scene.attempt("ann", &[(1, 1)]).await;
        scene.decided(attempt).await;
        let before = generation(&scene).await;
        let editor = editor(&shop).await;
        let restock = async |sale, item: &str, pieces| {
            editor.restock(sale, &item_id(item), pieces, "eve").await.unwrap().unwrap_err()
        };

        let below = RestockRefusal::BelowSold(Stock { pieces: 2, sold: 1 });
        assert_eq!(restock(scene.sale, "1", -2).await, below);
        let unknown = RestockRefusal::UnknownItem("17".to_owned());
        assert_eq!(restock(scene.sale, "17", 1).await, unknown);
        let unknown = RestockRefusal::UnknownSale(sale_id(99));
        assert_eq!(restock(sale_id(99), "1", 1).await, unknown);
        scene.end().await;
        assert_eq!(restock(scene.sale, "1", 1).await, RestockRefusal::Ended);

        // The end itself is one more.
        assert_eq!(generation(&scene).await, before + 1);
        assert_eq!(audit(&shop).await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn without_its_row_in_the_audit_no_change_is_committed() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::unique(1)).await;
        let sale = async || scene.instance.sales.find(scene.sale).await.unwrap().unwrap();
        let before = sale().await;
        let editor = editor(&shop).await;
        let too_long = "x".repeat(201);

        let restocked = editor.restock(scene.sale, &item_id("1"), 5, &too_long).await;
        let edited = editor.edit(scene.sale, &named("shoes"), &too_long).await;

        assert!(restocked.is_err() && edited.is_err());
        assert_eq!(sale().await, before);
        assert_eq!(scene.progress().await.remaining, 1);
    }

    #[tokio::test]
    async fn restocks_at_once_all_count() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::unique(1)).await;
        let before = generation(&scene).await;
        let editor = editor(&shop).await;

        let item = item_id("1");
        let all = (0..8).map(|_| editor.restock(scene.sale, &item, 1, "eve"));
        for restocked in futures_util::future::join_all(all).await {
            restocked.unwrap().unwrap();
        }

        assert_eq!(scene.progress().await.remaining, 9);
        assert_eq!(generation(&scene).await, before + 8);
        assert_eq!(audit(&shop).await.last().unwrap(), "restocked eve item 1 8 > 9");
    }

    #[tokio::test]
    async fn a_change_is_on_record_and_its_repeat_is_none() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::unique(1)).await;
        let before = generation(&scene).await;
        let editor = editor(&shop).await;

        let first = editor.edit(scene.sale, &named("shoes"), "eve").await.unwrap().unwrap();
        let repeat = editor.edit(scene.sale, &named("shoes"), "eve").await.unwrap().unwrap();

        assert!(first.is_changed && !repeat.is_changed);
        assert_eq!((first.sale.name.as_str(), first.sale.generation), ("shoes", before + 1));
        assert_eq!(repeat.sale, first.sale);
        assert_eq!(audit(&shop).await, ["changed eve a sale > shoes"]);
    }

    #[tokio::test]
    async fn a_cancelled_sale_stays_cancelled_and_sells_nothing() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::unique(1)).await;
        scene.postpone().await;
        let editor = editor(&shop).await;

        let first = editor.edit(scene.sale, &SaleEdit::Cancel, "eve").await.unwrap().unwrap();
        let repeat = editor.edit(scene.sale, &SaleEdit::Cancel, "eve").await.unwrap().unwrap();
        let changed = editor.edit(scene.sale, &named("shoes"), "eve").await.unwrap();
        let restocked = editor.restock(scene.sale, &item_id("1"), 1, "eve").await.unwrap();

        assert!(first.is_cancelled && repeat.is_cancelled && !repeat.is_changed);
        assert_eq!(changed, Err(SaleEditRefusal::Cancelled));
        assert_eq!(restocked, Err(RestockRefusal::Ended));
        assert_eq!(audit(&shop).await, ["cancelled eve a sale > a sale"]);
    }

    #[tokio::test]
    async fn an_end_that_would_leave_out_what_was_collected_is_refused() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::unique(1)).await;
        scene.attempt("ann", &[(1, 1)]).await;
        // As after a step of the clock.
        shop.execute("UPDATE checkout_items SET added_at = added_at + interval '1 minute'").await;
        let editor = editor(&shop).await;

        let ended = editor.edit(scene.sale, &SaleEdit::End, "eve").await.unwrap();

        assert_eq!(ended, Err(SaleEditRefusal::RecordOutside));
        assert_eq!(audit(&shop).await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn an_end_or_a_restock_waits_for_no_purchase_and_none_is_lost() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(1, 40)).await;
        let mut attempts = Vec::new();
        for buyer in 0..40 {
            attempts.push(scene.attempt(&format!("buyer-{buyer}"), &[(1, 1)]).await);
        }
        let editor = editor(&shop).await;

        let (item, sale) = (item_id("1"), scene.sale);
        let restocks = async {
            for _ in 0..5 {
                editor.restock(sale, &item, 2, "eve").await.unwrap().unwrap();
            }
        };
        let settle = attempts.iter().map(|attempt| scene.settle(*attempt));
        let (settled, ()) = tokio::join!(futures_util::future::join_all(settle), restocks);

        assert_eq!(settled.len(), 40);
        let progress = scene.progress().await;
        assert_eq!((progress.sold, progress.remaining), (40, 10));
        let items = scene.instance.items.sold_out_among(sale, &[ItemNo(1)]).await.unwrap();
        assert_eq!(items.sold_out, []);
    }
}
