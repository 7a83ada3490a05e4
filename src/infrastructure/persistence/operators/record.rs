//! The row of the audit that a change writes in its own transaction.

use serde_json::Value;
use sqlx::{Executor, PgConnection, SqlStr};

use crate::domain::ids::SaleId;
use crate::infrastructure::persistence::operation::request::claim;

const INSERT: &str = r"
    INSERT INTO sale_audit (sale_id, action, actor, subject, before, after)
    VALUES ($1, $2, $3, $4, $5::text::jsonb, $6::text::jsonb)
";

/// A change by an operator.
#[derive(Debug)]
pub(crate) struct Record<'r> {
    pub(crate) sale: SaleId,
    pub(crate) action: &'static str,
    pub(crate) actor: &'r str,
    /// What was changed, if not the sale.
    pub(crate) subject: Option<String>,
    pub(crate) before: Value,
    pub(crate) after: Value,
}

impl Record<'_> {
    /// Writes it, and the idempotency key of the request.
    pub(crate) async fn write(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        claim(connection).await?;
        let insert = sqlx::query(INSERT).bind(self.sale.get()).bind(self.action).bind(self.actor);
        let insert = insert.bind(self.subject.as_deref());
        let insert = insert.bind(self.before.to_string()).bind(self.after.to_string());
        insert.execute(connection).await?;
        Ok(())
    }

    /// Prepares the statement ahead, where every moment before the commit counts.
    pub(crate) async fn prepare(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        connection.prepare(SqlStr::from_static(INSERT)).await?;
        Ok(())
    }
}
