//! Partitions: the hot statements name the partition that holds their sale.
//!
//! Through the parent PostgreSQL looks at every partition and locks it, for each statement, so that every hundred past
//! sales would make a purchase a little dearer. And an update of locked rows by their place would need the sale's number
//! among its conditions, to find the partition; there an index offers to look for it, and a plan made while the table was
//! small then reads the whole sale.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::{AssertSqlSafe, PgConnection};

use crate::domain::ids::SaleId;

/// Sales whose statements are remembered.
const MAX_SALES: usize = 1_000;
/// The table whose partitions are looked at; the others' have the same endings.
const TABLE: &str = "item_stock";
/// Stands for the ending in a statement.
const ENDING: &str = "{of_sale}";

/// The statements of one transaction, made for a sale's partition.
pub(crate) struct Partitions<const N: usize> {
    templates: [&'static str; N],
    known: Mutex<HashMap<SaleId, Arc<Statements<N>>>>,
}

/// Statements, in the order of their templates.
pub(crate) type Statements<const N: usize> = [Arc<str>; N];

/// A statement that was made here.
pub(crate) fn sql(statement: &Arc<str>) -> AssertSqlSafe<Arc<str>> {
    // Only the ending is put in, and it comes from PostgreSQL's own list of tables.
    AssertSqlSafe(Arc::clone(statement))
}

/// The template's statement for the partition with this ending.
pub(crate) fn of_partition(template: &str, ending: &str) -> String {
    template.replace(ENDING, ending)
}

impl<const N: usize> Partitions<N> {
    /// In the templates `{of_sale}` stands behind the name of a partitioned table.
    pub(crate) fn new(templates: [&'static str; N]) -> Self {
        Self { templates, known: Mutex::default() }
    }

    /// The sale's statements. Where the sale has no partition any more they name the parents, which have nothing of it.
    pub(crate) async fn statements(
        &self,
        connection: &mut PgConnection,
        sale: SaleId,
    ) -> Result<Arc<Statements<N>>, sqlx::Error> {
        if let Some(known) = self.known().get(&sale) {
            return Ok(Arc::clone(known));
        }
        // In the key's order: without it the plan may gather all rows of the sale to answer one.
        let sql = "SELECT tableoid::regclass::text FROM item_stock
                   WHERE sale_id = $1 ORDER BY item_no LIMIT 1";
        let table: Option<String> =
            sqlx::query_scalar(sql).bind(sale.get()).fetch_optional(connection).await?;
        let ending = table.as_deref().and_then(|table| table.strip_prefix(TABLE));
        let made = Arc::new(
            self.templates.map(|template| of_partition(template, ending.unwrap_or("")).into()),
        );
        if ending.is_some() {
            let mut known = self.known();
            if known.len() >= MAX_SALES {
                known.clear();
            }
            known.insert(sale, Arc::clone(&made));
        }
        Ok(made)
    }

    /// Looks for the sale's partition again the next time.
    pub(crate) fn forget(&self, sale: SaleId) {
        self.known().remove(&sale);
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<SaleId, Arc<Statements<N>>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
