//! Partitions: the statements of requests name the partition that holds their sale.
//!
//! Through the parent PostgreSQL checks and locks every partition, for each statement, so that every hundred past sales would make a
//! request slightly more expensive, and a new connection would have to open every table once. An update by `ctid` would also need the
//! sale's number among its conditions, to find the partition; that offers the planner an index on it, and a plan made while the table
//! was small then reads the whole sale.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::{AssertSqlSafe, PgConnection};

use crate::application::ports::PortError;
use crate::domain::ids::SaleId;
use crate::infrastructure::persistence::pool::connections::Lent;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::pool::tx::{Options, Tx};

/// Maximum number of partitions whose statements are cached.
const MAX_PARTITIONS: usize = 1_000;
/// Sales of one partition, as `ensure_partitions` makes it.
pub(crate) const WIDTH: i64 = 100;
/// The placeholder of the suffix in a template.
pub(crate) const SUFFIX: &str = "{of_sale}";

/// Whether these tables are the partitions of the sales from `$2` up to but not including `$3`. It reads the catalogue by name: it opens
/// and locks none of them, however many there are.
const ATTACHED: &str = r"
    SELECT count(*) = cardinality($1)
    FROM unnest($1::text[]) AS t(name)
    JOIN pg_class AS c ON c.oid = to_regclass(t.name)
    WHERE c.relispartition
      AND translate(pg_get_expr(c.relpartbound, c.oid), '''', '')
          = format('FOR VALUES FROM (%s) TO (%s)', $2::bigint, $3::bigint)
";

/// Templates of statements, and the statements made from them for each partition.
pub(crate) struct Partitions<const N: usize> {
    templates: [&'static str; N],
    /// By the first number of the partition.
    cached: Mutex<HashMap<i64, Arc<Statements<N>>>>,
}

/// The statements for one partition, in the order of their templates.
pub(crate) struct Statements<const N: usize>([Arc<str>; N]);

impl<const N: usize> Statements<N> {
    /// The statement made from the template at this index.
    pub(crate) fn get(&self, index: usize) -> AssertSqlSafe<Arc<str>> {
        // Only the suffix was put in, which is made of a number.
        AssertSqlSafe(Arc::clone(&self.0[index]))
    }
}

/// The template's statement for the partition with this suffix.
pub(crate) fn for_partition(template: &str, suffix: &str) -> String {
    template.replace(SUFFIX, suffix)
}

/// Sales of one partition: from the first up to but not including the last number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SaleRange {
    pub(crate) first: i64,
    pub(crate) end: i64,
    /// One of them.
    pub(crate) of: SaleId,
}

impl SaleRange {
    /// This sale alone.
    pub(crate) fn only(sale: SaleId) -> Self {
        Self { first: sale.get(), end: sale.get() + 1, of: sale }
    }

    /// All sales of each partition that holds one of these.
    pub(crate) fn partitions_of(sales: impl IntoIterator<Item = SaleId>) -> Vec<Self> {
        let ranges: BTreeMap<i64, SaleId> =
            sales.into_iter().map(|sale| (first_of(sale), sale)).collect();
        ranges.into_iter().map(|(first, of)| Self { first, end: first + WIDTH, of }).collect()
    }
}

/// The first number of the sale's partition.
fn first_of(sale: SaleId) -> i64 {
    sale.get() / WIDTH * WIDTH
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
        let first = first_of(sale);
        if let Some(cached) = self.cached().get(&first) {
            return Ok(Arc::clone(cached));
        }
        let suffix = format!("_from_{first}");
        let is_attached: bool = sqlx::query_scalar(ATTACHED)
            .bind(self.tables(&suffix))
            .bind(first)
            .bind(first + WIDTH)
            .fetch_one(connection)
            .await?;
        let suffix = if is_attached { &suffix } else { "" };
        let statement = |template| for_partition(template, suffix).into();
        let statements = Arc::new(Statements(self.templates.map(statement)));
        if is_attached {
            let mut cached = self.cached();
            if cached.len() >= MAX_PARTITIONS {
                cached.clear();
            }
            cached.insert(first, Arc::clone(&statements));
        }
        Ok(statements)
    }

    /// Reads with a sale's statements, and once more if a table is missing because the partition was dropped meanwhile.
    pub(crate) async fn read<T, R>(
        &self,
        database: &Database,
        (statement, what): (Statement, &'static str),
        sale: SaleId,
        read: impl Fn(Lent, Arc<Statements<N>>) -> R + Send + Sync,
    ) -> Result<T, PortError>
    where
        T: Send,
        R: Future<Output = Result<T, sqlx::Error>> + Send,
    {
        let read = &read;
        let attempt = async || {
            let mut connection = database.pool().acquire().await?;
            let statements = self.statements(&mut connection, sale).await?;
            read(connection, statements).await
        };
        let twice = || async {
            match attempt().await {
                Err(error) if is_missing_table(&error) => {
                    self.forget(sale);
                    attempt().await
                }
                answer => answer,
            }
        };
        database.read_as(statement, what, twice).await
    }

    /// Runs `body` in a transaction with a sale's statements, and once more if a table is missing, like [`Self::read`].
    pub(crate) async fn snapshot<T, R>(
        &self,
        database: &Database,
        options: Options,
        sale: SaleId,
        body: impl Fn(Tx, Arc<Statements<N>>) -> R,
    ) -> Result<T, DatabaseError>
    where
        R: Future<Output = Result<(Tx, T), DatabaseError>>,
    {
        let body = &body;
        let attempt = || {
            database.transaction(options, |mut tx| async move {
                let statements = self.statements(&mut tx, sale).await?;
                body(tx, statements).await
            })
        };
        match attempt().await {
            Err(error) if error.is_missing_table() => {
                self.forget(sale);
                attempt().await
            }
            answer => answer,
        }
    }

    /// Looks the sale's partition up again the next time.
    pub(crate) fn forget(&self, sale: SaleId) {
        self.cached().remove(&first_of(sale));
    }

    /// The tables that the templates name, with this suffix.
    fn tables(&self, suffix: &str) -> Vec<String> {
        let mut tables = Vec::new();
        for template in self.templates {
            let mut parts: Vec<&str> = template.split(SUFFIX).collect();
            // What follows the last placeholder.
            parts.pop();
            for part in parts {
                let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
                let name = part.rsplit(|letter| !is_name(letter)).next().unwrap_or_default();
                tables.push(format!("{name}{suffix}"));
            }
        }
        tables.sort_unstable();
        tables.dedup();
        tables
    }

    fn cached(&self) -> MutexGuard<'_, HashMap<i64, Arc<Statements<N>>>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_missing_table(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref() == Some("42P01")
}
