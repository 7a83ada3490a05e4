//! The row of the audit that a change writes in its own transaction.

use serde_json::Value;
use sqlx::PgConnection;

use super::request::claim;

const INSERT: &str = r"
    INSERT INTO operator_audit (action, actor, subject, before, after)
    VALUES ($1, $2, left($3, 500), $4::text::jsonb, $5::text::jsonb)
";

/// A change by an operator that belongs to no sale.
#[derive(Debug)]
pub(crate) struct OperatorRecord<'r> {
    pub(crate) action: &'static str,
    pub(crate) actor: &'r str,
    /// What was changed.
    pub(crate) subject: String,
    /// Null for something new.
    pub(crate) before: Value,
    /// Null for something removed.
    pub(crate) after: Value,
}

impl OperatorRecord<'_> {
    /// Writes it, and the idempotency key of the request.
    pub(crate) async fn write(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        claim(connection).await?;
        let text = |value: &Value| (!value.is_null()).then(|| value.to_string());
        let insert = sqlx::query(INSERT).bind(self.action).bind(self.actor).bind(&self.subject);
        insert.bind(text(&self.before)).bind(text(&self.after)).execute(connection).await?;
        Ok(())
    }
}
