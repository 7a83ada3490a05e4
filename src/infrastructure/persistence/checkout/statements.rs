//! Runs the statements of a batch of checkouts, for one sale.

use sqlx::PgConnection;

use super::basket::Baskets;
use super::rows::{Columns, SaleRow, items_of};
use super::sql;
use crate::application::ports::Collect;
use crate::domain::checkout::Line;
use crate::domain::ids::{AttemptId, SaleId};
use crate::infrastructure::persistence::batch::lines::{self, lines_each};
use crate::infrastructure::persistence::batch::version::next_version;
use crate::infrastructure::persistence::idempotency::request::MaybeKeyed;
use crate::infrastructure::persistence::partitions::Statements;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::row::from_row;

from_row! {
    /// The first checkout of a buyer, as it was written.
    #[derive(Debug)]
    pub(super) struct FirstRow {
        pub(super) buyer_limit: i32,
        pub(super) generation: i64,
        pub(super) version: i64,
    }
}

from_row! {
    /// A batch that was written as it was recalled.
    #[derive(Debug)]
    pub(super) struct RecalledRow {
        pub(super) generation: i64,
        /// Of a new buyer's row, and the least of any other.
        pub(super) version: i64,
    }
}

/// The statements for the batch's sale.
pub(super) struct BatchStatements<'s> {
    pub(super) database: &'s Database,
    pub(super) statements: &'s Statements<6>,
    pub(super) sale_id: SaleId,
}

impl BatchStatements<'_> {
    /// Locks the rows of the batch's buyers, by the bytes of their ids.
    pub(super) async fn lock_buyers(
        &self,
        connection: &mut PgConnection,
        baskets: &Baskets<'_>,
    ) -> Result<(), DatabaseError> {
        let users: Vec<&str> = baskets.keys().copied().collect();
        let query = sqlx::query_scalar::<_, i64>(self.statements.get(sql::LOCK_BUYERS_AT))
            .bind(self.sale_id.get())
            .bind(users);
        self.database.time(Statement::LockBuyers, query.fetch_one(connection)).await?;
        Ok(())
    }

    /// Reads the sale, and fills the baskets. One that is too long for the batch is not complete. `None` if the sale does not exist.
    pub(super) async fn read(
        &self,
        connection: &mut PgConnection,
        requests: &[MaybeKeyed<Collect>],
        baskets: &mut Baskets<'_>,
    ) -> Result<Option<SaleRow>, DatabaseError> {
        let users: Vec<&str> = baskets.keys().copied().collect();
        let query = sqlx::query_as(self.statements.get(sql::READ_AT))
            .bind(self.sale_id.get())
            .bind(users)
            .bind(items_of(requests))
            .bind(lines::limit(lines_each(requests.len())));
        let read = query.fetch_optional(connection);
        let sale: Option<SaleRow> = self.database.time(Statement::ReadCheckouts, read).await?;
        if let Some(sale) = &sale {
            sale.fill(baskets);
        }
        Ok(sale)
    }

    /// Writes the first checkout of a new buyer. Returns `None` and writes nothing if the buyer has a row, or if anything else
    /// prevents it.
    pub(super) async fn write_first(
        &self,
        connection: &mut PgConnection,
        (request, line): (&Collect, Line),
        attempt: AttemptId,
    ) -> Result<Option<FirstRow>, DatabaseError> {
        let query = sqlx::query_as(self.statements.get(sql::WRITE_FIRST_AT))
            .bind(self.sale_id.get())
            .bind(request.buyer.as_str())
            .bind(attempt.get())
            .bind(line.item.0)
            .bind(line.quantity.get());
        self.database.time(Statement::WriteCheckouts, query.fetch_optional(connection)).await
    }

    /// Writes what a batch has changed that was decided on what is remembered. Returns `None` and writes nothing where the sale has
    /// another limit or an item is sold out.
    pub(super) async fn write_recalled(
        &self,
        connection: &mut PgConnection,
        (buyer_limit, items): (i32, &[i32]),
        baskets: &Baskets<'_>,
    ) -> Result<Option<RecalledRow>, DatabaseError> {
        let columns = Columns::of(baskets);
        let query = sqlx::query_as(self.statements.get(sql::WRITE_RECALLED_AT))
            .bind(self.sale_id.get())
            .bind(buyer_limit)
            .bind(&columns.old_users)
            .bind(&columns.old_versions)
            .bind(&columns.old_attempts)
            .bind(&columns.new_users)
            .bind(&columns.new_attempts)
            .bind(&columns.attempts)
            .bind(&columns.attempt_users)
            .bind(&columns.new_lines.attempts)
            .bind(&columns.new_lines.items)
            .bind(&columns.new_lines.quantities)
            .bind(&columns.old_lines.attempts)
            .bind(&columns.old_lines.items)
            .bind(&columns.old_lines.quantities)
            .bind(items);
        self.database.time(Statement::WriteCheckouts, query.fetch_optional(connection)).await
    }

    /// Writes what the batch has changed.
    pub(super) async fn write(
        &self,
        connection: &mut PgConnection,
        sale: &SaleRow,
        baskets: &Baskets<'_>,
    ) -> Result<(), DatabaseError> {
        let columns = Columns::of(baskets);
        if columns.attempts.is_empty() && columns.old_attempts.is_empty() {
            return Ok(());
        }
        let query = sqlx::query_scalar::<_, bool>(self.statements.get(sql::WRITE_AT))
            .bind(self.sale_id.get())
            .bind(sale.buyer_limit)
            .bind(&columns.old_ctids)
            .bind(&columns.old_users)
            .bind(&columns.old_versions)
            .bind(&columns.old_attempts)
            .bind(&columns.new_users)
            .bind(&columns.new_attempts)
            .bind(sale.now)
            .bind(&columns.attempts)
            .bind(&columns.attempt_users)
            .bind(&columns.new_lines.attempts)
            .bind(&columns.new_lines.items)
            .bind(&columns.new_lines.quantities)
            .bind(&columns.old_lines.attempts)
            .bind(&columns.old_lines.items)
            .bind(&columns.old_lines.quantities)
            .bind(next_version(None, sale.now));
        let written = query.fetch_one(&mut *connection);
        self.database.time(Statement::WriteCheckouts, written).await?;
        if columns.removed_items.is_empty() {
            return Ok(());
        }
        let query = sqlx::query(self.statements.get(sql::REMOVE_LINES_AT))
            .bind(self.sale_id.get())
            .bind(&columns.removed_attempts)
            .bind(&columns.removed_items);
        self.database.time(Statement::RemoveLines, query.execute(connection)).await?;
        Ok(())
    }
}
