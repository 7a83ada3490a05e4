//! Partitions: the hot statements name the partition that holds their sale.
//!
//! Through the parent PostgreSQL checks and locks every partition, for each statement, so that every hundred past sales would make a
//! purchase slightly more expensive. An update by `ctid` would also need the sale's number among its conditions, to find the
//! partition; that offers the planner an index on it, and a plan made while the table was small then reads the whole sale.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::{AssertSqlSafe, PgConnection};

use crate::domain::ids::SaleId;

/// Maximum number of sales whose statements are cached.
const MAX_SALES: usize = 1_000;
/// The table whose partition is looked up; the other tables' partitions have the same suffix.
const TABLE: &str = "item_stock";
/// The placeholder of the suffix in a template.
const SUFFIX: &str = "{of_sale}";

/// Templates of statements, and the statements made from them for each sale.
pub(crate) struct Partitions<const N: usize> {
    templates: [&'static str; N],
    cached: Mutex<HashMap<SaleId, Arc<Statements<N>>>>,
}

/// The statements for one partition, in the order of their templates.
pub(crate) struct Statements<const N: usize>([Arc<str>; N]);

impl<const N: usize> Statements<N> {
    /// The statement made from the template at this index.
    pub(crate) fn get(&self, index: usize) -> AssertSqlSafe<Arc<str>> {
        // Only the suffix was put in, which comes from PostgreSQL's own list of tables.
        AssertSqlSafe(Arc::clone(&self.0[index]))
    }
}

/// The template's statement for the partition with this suffix.
pub(crate) fn for_partition(template: &str, suffix: &str) -> String {
    template.replace(SUFFIX, suffix)
}

impl<const N: usize> Partitions<N> {
    /// In the templates, `{of_sale}` follows the name of each partitioned table.
    pub(crate) fn new(templates: [&'static str; N]) -> Self {
        Self { templates, cached: Mutex::default() }
    }

    /// The sale's statements. For a sale whose partition was dropped they name the parents, which hold none of its rows.
    pub(crate) async fn statements(
        &self,
        connection: &mut PgConnection,
        sale: SaleId,
    ) -> Result<Arc<Statements<N>>, sqlx::Error> {
        if let Some(cached) = self.cached().get(&sale) {
            return Ok(Arc::clone(cached));
        }
        // In the key's order: without it the plan may collect all rows of the sale to return one.
        let sql = "SELECT tableoid::regclass::text FROM item_stock
                   WHERE sale_id = $1 ORDER BY item_no LIMIT 1";
        let table: Option<String> =
            sqlx::query_scalar(sql).bind(sale.get()).fetch_optional(connection).await?;
        let suffix = table.as_deref().and_then(|table| table.strip_prefix(TABLE));
        let statement = |template| for_partition(template, suffix.unwrap_or("")).into();
        let statements = Arc::new(Statements(self.templates.map(statement)));
        if suffix.is_some() {
            let mut cached = self.cached();
            if cached.len() >= MAX_SALES {
                cached.clear();
            }
            cached.insert(sale, Arc::clone(&statements));
        }
        Ok(statements)
    }

    /// Looks the sale's partition up again the next time.
    pub(crate) fn forget(&self, sale: SaleId) {
        self.cached().remove(&sale);
    }

    fn cached(&self) -> MutexGuard<'_, HashMap<SaleId, Arc<Statements<N>>>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
