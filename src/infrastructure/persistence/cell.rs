//! The cell of the database: set while it is empty, and the same for ever.

use super::pool::database::Database;
use crate::domain::cell::CellId;

const TAKE: &str = "SELECT take_cell($1)";
const READ: &str = "SELECT number FROM cell";

/// The database is not the one that `database.cell` names.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CellError {
    /// It is another cell.
    #[error(
        "this database is cell {recorded} and database.cell is {configured}: set database.cell to {recorded}, or \
         connect to the database of cell {configured}"
    )]
    Other {
        /// That of the database.
        recorded: i64,
        /// That of the configuration.
        configured: CellId,
    },
    /// It has none, and this instance may not set it.
    #[error(
        "this database has no cell yet: run `flash-sale migrate` first, or set database.migrate_on_start"
    )]
    Missing,
    /// The cell could not be read or set.
    #[error("cannot read the cell of the database: {0}")]
    Unreadable(#[from] sqlx::Error),
}

/// Makes an empty database this cell, and checks that any other one is.
///
/// One statement, so that a process that dies leaves a database with numbers of its cell, or one without a cell.
pub(crate) async fn take_cell(database: &Database, cell: CellId) -> Result<(), CellError> {
    let query = sqlx::query_scalar(TAKE).bind(i64::from(cell.get()));
    check(query.fetch_one(database.pool()).await?, cell)
}

/// Checks that the database is this cell.
pub(crate) async fn check_cell(database: &Database, cell: CellId) -> Result<(), CellError> {
    let recorded = sqlx::query_scalar(READ).fetch_optional(database.pool()).await?;
    check(recorded.ok_or(CellError::Missing)?, cell)
}

fn check(recorded: i64, configured: CellId) -> Result<(), CellError> {
    if recorded == i64::from(configured.get()) {
        return Ok(());
    }
    Err(CellError::Other { recorded, configured })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::contracts::{Scene, Terms};
    use crate::testing::servers::PostgresShop;

    fn cell(number: u32) -> CellId {
        CellId::new(number).unwrap()
    }

    /// What the sequences of sales and attempts give next.
    async fn next_numbers(shop: &PostgresShop) -> (i64, i64) {
        let next = "SELECT nextval('sale_ids'), nextval('checkout_attempt_ids')";
        sqlx::query_as(next).fetch_one(&shop.pool).await.unwrap()
    }

    #[tokio::test]
    async fn the_numbers_of_an_empty_database_begin_with_its_cell() {
        for (number, first) in [(0, 1), (1, 1 << 40), (CellId::MAX, i64::from(CellId::MAX) << 40)] {
            let shop = PostgresShop::of_cell(cell(number)).await;

            assert_eq!(next_numbers(&shop).await, (first, first));
        }
    }

    #[tokio::test]
    async fn no_number_is_given_beyond_the_cell() {
        let shop = PostgresShop::of_cell(cell(1)).await;
        let end = 2_i64 << 40;
        // The last sale, and the last whole block of attempts.
        for (sequence, last) in [("sale_ids", end - 1), ("checkout_attempt_ids", end - 1_000)] {
            shop.execute(&format!("SELECT setval('{sequence}', {last})")).await;

            let next = sqlx::query("SELECT nextval($1::text::regclass)").bind(sequence);
            let refused = next.execute(&shop.pool).await.unwrap_err().to_string();

            assert!(refused.contains("reached maximum value"), "{sequence}: {refused}");
        }
    }

    #[tokio::test]
    async fn a_database_stays_the_cell_that_it_is() {
        let shop = PostgresShop::of_cell(cell(1)).await;
        let database = shop.database().await;

        assert!(take_cell(&database, cell(1)).await.is_ok());
        assert!(check_cell(&database, cell(1)).await.is_ok());
        for refused in [take_cell(&database, cell(2)).await, check_cell(&database, cell(2)).await] {
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains("set database.cell to 1"), "{refused}");
        }
        assert_eq!(next_numbers(&shop).await.0, 1 << 40);
    }

    #[tokio::test]
    async fn a_database_in_use_that_has_no_cell_is_the_first_one() {
        let shop = PostgresShop::open().await;
        let sale = Scene::open(&shop, Terms::unique(1)).await.sale;
        shop.execute("DELETE FROM cell").await;
        let database = shop.database().await;

        assert!(matches!(check_cell(&database, cell(0)).await, Err(CellError::Missing)));
        let refused = take_cell(&database, cell(1)).await;

        assert!(matches!(refused, Err(CellError::Other { recorded: 0, .. })), "{refused:?}");
        assert!(check_cell(&database, cell(0)).await.is_ok());
        assert_eq!(next_numbers(&shop).await.0, sale.get() + 1);
    }
}
