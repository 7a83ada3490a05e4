//! Changes by operators, and the audit of them.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::lists::{Cursor, CursorPage};
use super::system::PortError;
use crate::domain::ids::{ItemId, SaleId};
use crate::domain::restock::{RestockRefusal, Stock};
use crate::domain::sale::Sale;
use crate::domain::sale_edit::{SaleEdit, SaleEditRefusal};

/// A sale after an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditedSale {
    /// The sale as it is now.
    pub sale: Sale,
    /// Whether it was cancelled.
    pub is_cancelled: bool,
    /// Whether this edit changed it; otherwise it was so before, and nothing was written.
    pub is_changed: bool,
}

/// Changes sales and their stock.
///
/// Each change MUST be committed together with its row in the audit, or not at all, and MUST be decided on the sale as it is when
/// it is changed. A change that concerns what instances refuse from memory MUST give the sale a greater generation.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait SaleEditor: Send + Sync {
    /// Edits a sale.
    async fn edit(
        &self,
        sale: SaleId,
        edit: &SaleEdit,
        actor: &str,
    ) -> Result<Result<EditedSale, SaleEditRefusal>, PortError>;

    /// Adds pieces to an item of a sale that has not ended, or takes them if negative. MUST NOT leave fewer than are sold.
    async fn restock(
        &self,
        sale: SaleId,
        item: &ItemId,
        pieces: i32,
        actor: &str,
    ) -> Result<Result<Stock, RestockRefusal>, PortError>;
}

/// A change on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Number of the entry.
    pub id: i64,
    /// When it was written.
    pub at: DateTime<Utc>,
    /// Who did it.
    pub actor: String,
    /// What was done, such as `restocked`.
    pub action: String,
    /// The sale, of a change that belongs to one.
    pub sale: Option<SaleId>,
    /// What was changed, such as an item.
    pub subject: Option<String>,
    /// The state before the change, as JSON.
    pub before: Option<String>,
    /// The state after it, as JSON.
    pub after: Option<String>,
}

/// The position of an entry in the audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditKey {
    /// When it was written.
    pub at: DateTime<Utc>,
    /// Its number.
    pub id: i64,
}

impl AuditKey {
    /// The position of this entry.
    #[must_use]
    pub fn of(entry: &AuditEntry) -> Self {
        Self { at: entry.at, id: entry.id }
    }
}

/// A filter of the audit; all by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only what was written at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Only changes of this sale.
    pub sale: Option<SaleId>,
}

/// Reads the audit.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait AuditTrail: Send + Sync {
    /// Changes, newest first.
    async fn list(
        &self,
        wanted: AuditFilter,
        after: Cursor<AuditKey>,
    ) -> Result<CursorPage<AuditEntry, AuditKey>, PortError>;
}
