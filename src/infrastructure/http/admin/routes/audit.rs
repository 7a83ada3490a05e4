//! `GET /admin/audit`: what operators have changed.

use std::fmt::Write;

use axum::extract::{OriginalUri, RawQuery, State};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::parts::ReadProblems;
use crate::application::ports::{AuditEntry, AuditFilter, AuditKey};
use crate::domain::time_text::{parse_moment, rfc3339};
use crate::infrastructure::http::admin::state::AdminState;
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::params::CursorParams;
use crate::infrastructure::http::request::params::Params;
use crate::infrastructure::http::v2::pagination::{
    CursorPageBody, Paginator, format_time_and_id, parse_time_and_id,
};

/// What was changed, as JSON.
#[derive(ToSchema)]
#[schema(examples(json!({"stock": 6, "sold": 1})))]
#[expect(dead_code, reason = "it documents a value")]
struct AuditState(serde_json::Map<String, Value>);

/// A change on record.
#[derive(Serialize, ToSchema)]
struct AuditBody {
    #[schema(minimum = 1, examples(12))]
    id: i64,
    #[schema(value_type = schema::Time)]
    at: String,
    /// Who: the name of an API key, or the system's user of a command.
    #[schema(examples("ann"))]
    actor: String,
    /// What was done.
    #[schema(examples("restocked"))]
    action: String,
    /// Null for a change that belongs to no sale.
    #[schema(value_type = Option<String>, required = true, examples("S-1"))]
    sale_id: Option<String>,
    /// What was changed, if not the sale.
    #[schema(value_type = Option<String>, required = true, examples("item 17"))]
    subject: Option<String>,
    /// The state before; null for something new.
    #[schema(value_type = Option<AuditState>, required = true)]
    before: Value,
    /// The state after; null for something that was removed.
    #[schema(value_type = Option<AuditState>, required = true)]
    after: Value,
}

impl From<AuditEntry> for AuditBody {
    fn from(entry: AuditEntry) -> Self {
        let state = |text: Option<String>| -> Value {
            text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
        };
        Self {
            id: entry.id,
            at: rfc3339(entry.at),
            actor: entry.actor,
            action: entry.action,
            sale_id: entry.sale.map(|sale| sale.to_string()),
            subject: entry.subject,
            before: state(entry.before),
            after: state(entry.after),
        }
    }
}

/// List changes
///
/// Who has changed what, newest first.
#[utoipa::path(
    get,
    path = "/audit",
    operation_id = "list_audit",
    tag = "audit",
    params(
        ("since" = Option<schema::Time>, Query, description = "Only what was changed at this time or later (RFC 3339)."),
        ("sale_id" = Option<schema::SaleId>, Query, description = "Only changes of this sale."),
        CursorParams,
    ),
    responses(
        (status = 200, description = "Entries of the list, and a cursor.", body = CursorPageBody<AuditBody>),
        ReadProblems,
    ),
)]
pub(crate) async fn list(
    State(admin): State<AdminState>,
    OriginalUri(uri): OriginalUri,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut params = Params::parse(query.as_deref());
    let since = params.optional("since", parse_moment);
    let sale = params.sale_id();
    let mut filters = String::new();
    if let Some(since) = since {
        let _ = write!(filters, "since={}&", rfc3339(since));
    }
    if let Some(Ok(sale)) = &sale {
        let _ = write!(filters, "sale_id={sale}&");
    }
    let paginator = Paginator { signer: &*admin.cursors, path: uri.path(), filters };
    let cursor = paginator.cursor(&mut params, |position| {
        let (at, id) = parse_time_and_id(position)?;
        Some(AuditKey { at, id })
    });
    params.finish()?;
    let wanted = AuditFilter { since, sale: sale.transpose()? };
    let page = admin.read(admin.audit.list(wanted, cursor)).await?;
    let position = |next: &AuditKey| format_time_and_id(next.at, next.id);
    Ok(paginator.response::<_, _, AuditBody>(page, cursor.limit, position))
}
