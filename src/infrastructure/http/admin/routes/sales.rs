//! `/admin/sales`: list, create, change, end and cancel sales.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{OriginalUri, Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::parts::{ReadProblems, Span, moment, span};
use crate::application::create_sale::CreateSaleError;
use crate::application::operators::edit_sale::EditSaleError;
use crate::application::ports::{CursorPage, EditedSale, PortError, SaleFilter, SaleKey};
use crate::domain::ids::SaleId;
use crate::domain::sale::{
    MAX_BUYER_LIMIT, MAX_ITEMS, MAX_STOCK, NewSale, Progress, Sale, SaleState, SaleWindow,
    is_sale_name,
};
use crate::domain::sale_edit::{SaleChange, SaleEdit, SaleEditRefusal};
use crate::domain::time_text::rfc3339;
use crate::infrastructure::http::admin::call::Call;
use crate::infrastructure::http::admin::metrics::Action;
use crate::infrastructure::http::admin::perform::{Done, perform};
use crate::infrastructure::http::admin::state::{Admin, AdminState};
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::error::{ApiError, ValidationErrors};
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::params::{CursorParams, OptionalIdempotencyKeyHeader};
use crate::infrastructure::http::openapi::problems::problems;
use crate::infrastructure::http::request::json_body::{Members, read_object};
use crate::infrastructure::http::request::params::Params;
use crate::infrastructure::http::request::path;
use crate::infrastructure::http::v2::pagination::{
    CursorPageBody, Paginator, format_time_and_id, parse_time_and_id,
};

const AN_HOUR: Duration = Duration::from_hours(1);
const TEN_YEARS: Duration = Duration::from_hours(24 * 3_650);
const STOCK: i32 = 1;
const BUYER_LIMIT: i32 = 10;

/// A new sale with the items "1" to `items`.
#[derive(ToSchema)]
#[schema(example = json!({"name": "Socks", "items": 100, "stock": 5, "buyer_limit": 2, "starts_at": "2027-01-31T15:00:00Z", "duration": "1h"}))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it documents the body that `create` parses")]
struct NewSaleBody {
    #[schema(minimum = 1, maximum = 1_000_000)]
    items: i32,
    /// Pieces of each item. Default: 1.
    #[schema(minimum = 1, maximum = 100_000_000, required = false)]
    stock: i32,
    /// Maximum number of pieces for one buyer. Default: 10.
    #[schema(minimum = 1, maximum = 1_000, required = false)]
    buyer_limit: i32,
    /// Default: a name with the start.
    #[schema(min_length = 1, max_length = 200, required = false)]
    name: String,
    /// Default: now. Not together with `starts_in`.
    #[schema(value_type = schema::Time, required = false)]
    starts_at: String,
    /// Time until the start.
    #[schema(value_type = Span, required = false)]
    starts_in: String,
    /// Not together with `duration`.
    #[schema(value_type = schema::Time, required = false)]
    ends_at: String,
    /// Default: an hour.
    #[schema(value_type = Span, required = false)]
    duration: String,
}

/// What to change; what is left out stays.
#[derive(ToSchema)]
#[schema(example = json!({"ends_at": "2027-01-31T17:00:00Z"}), min_properties = 1)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it documents the body that `change` parses")]
struct SaleChangeBody {
    #[schema(min_length = 1, max_length = 200, required = false)]
    name: String,
    #[schema(value_type = schema::Time, required = false)]
    starts_at: String,
    #[schema(value_type = schema::Time, required = false)]
    ends_at: String,
    #[schema(minimum = 1, maximum = 1_000, required = false)]
    buyer_limit: i32,
}

/// A sale that was created.
#[derive(Serialize, ToSchema)]
struct CreatedSale {
    #[schema(value_type = schema::SaleId)]
    sale_id: String,
    #[schema(examples("Socks"))]
    name: String,
    #[schema(value_type = schema::Time)]
    starts_at: String,
    #[schema(value_type = schema::Time)]
    ends_at: String,
    #[schema(minimum = 1, maximum = 1_000_000, examples(100))]
    items: i32,
    #[schema(minimum = 1, maximum = 100_000_000, examples(5))]
    stock: i32,
    #[schema(minimum = 1, maximum = 1_000, examples(2))]
    buyer_limit: i32,
}

/// A sale after a change.
#[derive(Serialize, ToSchema)]
struct ChangedSale {
    #[schema(value_type = schema::SaleId)]
    sale_id: String,
    #[schema(examples("Socks"))]
    name: String,
    state: OperatedState,
    #[schema(value_type = schema::Time)]
    starts_at: String,
    #[schema(value_type = schema::Time)]
    ends_at: String,
    #[schema(minimum = 1, maximum = 1_000, examples(2))]
    buyer_limit: i32,
    #[schema(minimum = 1, maximum = 1_000_000, examples(100))]
    items: i32,
    /// Whether this request has changed it; otherwise it was so before.
    #[schema(examples(true))]
    changed: bool,
}

/// The state of a sale, for operators.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(examples("open"))]
enum OperatedState {
    Upcoming,
    Open,
    Ended,
    Cancelled,
}

/// A sale in the list of all sales.
#[derive(Serialize, ToSchema)]
struct OperatedSale {
    #[schema(value_type = schema::SaleId)]
    sale_id: String,
    #[schema(examples("Socks"))]
    name: String,
    #[schema(value_type = schema::SaleState)]
    state: &'static str,
    /// Whether the schedule has created it.
    #[schema(examples(false))]
    scheduled: bool,
    #[schema(value_type = schema::Time)]
    starts_at: String,
    #[schema(value_type = schema::Time)]
    ends_at: String,
    #[schema(minimum = 1, maximum = 1_000, examples(2))]
    buyer_limit: i32,
    #[schema(minimum = 1, maximum = 1_000_000, examples(100))]
    items: i32,
    /// Pieces.
    #[schema(minimum = 0, examples(17))]
    sold: i64,
    /// Pieces.
    #[schema(minimum = 0, examples(483))]
    remaining: i64,
}

problems! {
    /// Errors of changes of a sale.
    SaleChangeProblems in Two: "unauthorized" "forbidden" "idempotency_key_in_use" "idempotency_key_reused" "answer_lost"
        "change_refused" "sale_not_found" "sale_archived" "unsupported_media_type";
}

/// List all sales
///
/// The sale with the latest start is the first.
#[utoipa::path(
    get,
    path = "/sales",
    operation_id = "list_sales",
    tag = "sales",
    params(CursorParams),
    responses(
        (status = 200, description = "Entries of the list, and a cursor.", body = CursorPageBody<OperatedSale>),
        ReadProblems,
    ),
)]
pub(crate) async fn list(
    State(admin): State<AdminState>,
    OriginalUri(uri): OriginalUri,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut params = Params::parse(query.as_deref());
    let paginator = Paginator { signer: &*admin.cursors, path: uri.path(), filters: String::new() };
    let cursor = paginator.cursor(&mut params, |position| {
        let (starts_at, sale) = parse_time_and_id(position)?;
        Some(SaleKey { starts_at, sale: SaleId::new(sale)? })
    });
    params.finish()?;
    let page = admin.read(admin.sales.store.list(SaleFilter::default(), cursor)).await?;
    let numbers: Vec<SaleId> = page.entries.iter().map(|sale| sale.id).collect();
    let progress = admin.read(admin.sales.items.progress(&numbers)).await?;
    let now = database_now(&admin).await?;
    let entries = page.entries.into_iter().map(|sale| {
        let progress = progress.iter().find(|(id, _)| *id == sale.id);
        operated(sale, progress.map(|(_, progress)| *progress), now)
    });
    let page = CursorPage { entries: entries.collect(), next: page.next };
    let position = |next: &SaleKey| format_time_and_id(next.starts_at, next.sale.get());
    Ok(paginator.response::<OperatedSale, _, OperatedSale>(page, cursor.limit, position))
}

/// Create a sale
///
/// With the items "1" to `items`. When this returns, all instances sell it once it is open.
#[utoipa::path(
    post,
    path = "/sales",
    operation_id = "create_sale",
    tag = "sales",
    params(OptionalIdempotencyKeyHeader),
    request_body = NewSaleBody,
    responses(
        (status = 201, description = "The sale was created.", body = CreatedSale),
        SaleChangeProblems,
    ),
)]
pub(crate) async fn create(
    State(admin): State<AdminState>,
    call: Call,
    body: Bytes,
) -> Result<Response, Problem> {
    let mut errors = ValidationErrors::new();
    let request = call.keyed(&body, &mut errors);
    let now = database_now(&admin).await?;
    let new = read_object(&call.headers, &body, &mut errors, |members| {
        let items = members.required("items", |json| json.integer(1, MAX_ITEMS));
        let stock = members.optional("stock", |json| json.integer(1, MAX_STOCK));
        let limit = members.optional("buyer_limit", |json| json.integer(1, MAX_BUYER_LIMIT));
        let name = members.optional("name", |json| json.text(sale_name));
        let window = window(members, now)?;
        Some(NewSale {
            name: name.unwrap_or_else(|| {
                format!("Flash sale of {}", admin.sales.calendar.shown(window.starts_at()))
            }),
            scheduled: false,
            window,
            buyer_limit: limit.unwrap_or(BUYER_LIMIT),
            items: items?,
            stock: stock.unwrap_or(STOCK),
        })
    })?;
    let (Some(new), true) = (new, errors.is_empty()) else {
        return Err(ApiError::Validation(errors).into());
    };
    let (own, actor) = (Arc::clone(&admin), call.operator.name());
    let work = async move {
        let stock = new.stock;
        let created = match own.sales.create.execute(new, &actor).await {
            Ok(Some(created)) => created,
            Ok(None) => {
                let why = "a sale with this start exists already";
                return Err(Problem::detailed(ApiError::ChangeRefused, &why));
            }
            Err(CreateSaleError::Invalid(fault)) => {
                return Err(Problem::detailed(ApiError::ChangeRefused, &fault));
            }
            Err(CreateSaleError::Port(error)) => return Err(error.into()),
        };
        let body = CreatedSale {
            sale_id: created.id.to_string(),
            name: created.name,
            starts_at: rfc3339(created.window.starts_at()),
            ends_at: rfc3339(created.window.ends_at()),
            items: created.items,
            stock,
            buyer_limit: created.buyer_limit,
        };
        let done = Done::new(StatusCode::CREATED, &body, Some(Action::SaleCreated));
        Ok(done.settling_in(own.settle_time))
    };
    perform(&admin, request, work).await
}

/// Change a sale
///
/// The name at any time, the start and the limit until ten seconds before the start, the end to any moment ahead.
#[utoipa::path(
    patch,
    path = "/sales/{sale_id}",
    operation_id = "change_sale",
    tag = "sales",
    params(("sale_id" = schema::SaleId, Path, description = "The sale."), OptionalIdempotencyKeyHeader),
    request_body = SaleChangeBody,
    responses(
        (status = 200, description = "The sale as it is now.", body = ChangedSale),
        SaleChangeProblems,
    ),
)]
pub(crate) async fn change(
    State(admin): State<AdminState>,
    call: Call,
    sale_id: Result<Path<String>, PathRejection>,
    body: Bytes,
) -> Result<Response, Problem> {
    let sale = path::sale_id(sale_id)?;
    let mut errors = ValidationErrors::new();
    let request = call.keyed(&body, &mut errors);
    let change = read_object(&call.headers, &body, &mut errors, |members| SaleChange {
        name: members.optional("name", |json| json.text(sale_name)),
        starts_at: members.optional("starts_at", moment),
        ends_at: members.optional("ends_at", moment),
        buyer_limit: members.optional("buyer_limit", |json| json.integer(1, MAX_BUYER_LIMIT)),
    })?;
    if errors.is_empty() && change.is_empty() {
        let needed = "must have at least one of name, starts_at, ends_at and buyer_limit";
        errors.insert("#".into(), needed.to_owned());
    }
    if !errors.is_empty() {
        return Err(ApiError::Validation(errors).into());
    }
    let own = Arc::clone(&admin);
    let work = edit(own, sale, SaleEdit::Change(change), call.operator.name());
    perform(&admin, request, work).await
}

/// End a sale
///
/// A second from now. When this returns, no instance sells any more.
#[utoipa::path(
    post,
    path = "/sales/{sale_id}/end",
    operation_id = "end_sale",
    tag = "sales",
    params(("sale_id" = schema::SaleId, Path, description = "The sale."), OptionalIdempotencyKeyHeader),
    responses(
        (status = 200, description = "The sale as it is now.", body = ChangedSale),
        SaleChangeProblems,
    ),
)]
pub(crate) async fn end(
    State(admin): State<AdminState>,
    call: Call,
    sale_id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let (sale, request) = (path::sale_id(sale_id)?, call.keyed_without_body()?);
    let work = edit(Arc::clone(&admin), sale, SaleEdit::End, call.operator.name());
    perform(&admin, request, work).await
}

/// Cancel a sale
///
/// Takes it back before it starts: it never opens. Nothing is deleted.
#[utoipa::path(
    post,
    path = "/sales/{sale_id}/cancel",
    operation_id = "cancel_sale",
    tag = "sales",
    params(("sale_id" = schema::SaleId, Path, description = "The sale."), OptionalIdempotencyKeyHeader),
    responses(
        (status = 200, description = "The sale as it is now.", body = ChangedSale),
        SaleChangeProblems,
    ),
)]
pub(crate) async fn cancel(
    State(admin): State<AdminState>,
    call: Call,
    sale_id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let (sale, request) = (path::sale_id(sale_id)?, call.keyed_without_body()?);
    let work = edit(Arc::clone(&admin), sale, SaleEdit::Cancel, call.operator.name());
    perform(&admin, request, work).await
}

async fn edit(
    admin: AdminState,
    sale: SaleId,
    edit: SaleEdit,
    actor: String,
) -> Result<Done, Problem> {
    let edited = match admin.sales.edit.execute(sale, &edit, &actor).await {
        Ok(edited) => edited,
        Err(EditSaleError::Refused(SaleEditRefusal::Unknown(sale))) => {
            return Err(admin.no_sale(sale).await.into());
        }
        Err(EditSaleError::Port(error)) => return Err(error.into()),
        Err(error @ (EditSaleError::Empty | EditSaleError::Refused(_))) => {
            return Err(Problem::detailed(ApiError::ChangeRefused, &error));
        }
    };
    let EditedSale { sale, is_cancelled, is_changed } = edited;
    let mut now = database_now(&admin).await?;
    let mut settles_in = if is_changed { admin.settle_time } else { Duration::ZERO };
    let action = match edit {
        SaleEdit::Change(_) => Action::SaleChanged,
        SaleEdit::End => {
            // It is answered when it has ended.
            let ends_at = sale.window.ends_at();
            settles_in += (ends_at - now).to_std().unwrap_or_default();
            now = now.max(ends_at);
            Action::SaleEnded
        }
        SaleEdit::Cancel => Action::SaleCancelled,
    };
    let state = match sale.window.state_at(now) {
        _ if is_cancelled => OperatedState::Cancelled,
        SaleState::Upcoming => OperatedState::Upcoming,
        SaleState::Open => OperatedState::Open,
        SaleState::Ended => OperatedState::Ended,
    };
    let body = ChangedSale {
        sale_id: sale.id.to_string(),
        name: sale.name,
        state,
        starts_at: rfc3339(sale.window.starts_at()),
        ends_at: rfc3339(sale.window.ends_at()),
        buyer_limit: sale.buyer_limit,
        items: sale.items,
        changed: is_changed,
    };
    let done = Done::new(StatusCode::OK, &body, is_changed.then_some(action));
    Ok(done.settling_in(settles_in))
}

/// The time in which a new sale is open. Its errors are added to those of the members.
fn window(members: &mut Members<'_>, now: DateTime<Utc>) -> Option<SaleWindow> {
    for (one, other) in [("starts_at", "starts_in"), ("ends_at", "duration")] {
        if members.has(one) && members.has(other) {
            members.add_error(other, format!("must not be given together with {one}"));
        }
    }
    let at = members.optional("starts_at", moment);
    let ahead = members.optional("starts_in", |json| span(json, TEN_YEARS));
    let ends_at = members.optional("ends_at", moment);
    let length = members.optional("duration", |json| span(json, TEN_YEARS));
    let starts_at = at.unwrap_or_else(|| now + ahead.unwrap_or_default());
    let window = match ends_at {
        Some(ends_at) => SaleWindow::new(starts_at, ends_at),
        None => SaleWindow::lasting(starts_at, length.unwrap_or(AN_HOUR)),
    };
    let Some(window) = window else {
        members.add_error("ends_at", "must be after the start, and before the year 10000");
        return None;
    };
    if window.state_at(now) == SaleState::Ended {
        members.add_error("ends_at", "must be in the future");
    }
    Some(window)
}

fn sale_name(text: &str) -> Result<String, &'static str> {
    let fault = "must have 1 to 200 characters and no control characters";
    if is_sale_name(text) { Ok(text.to_owned()) } else { Err(fault) }
}

/// The database's clock.
async fn database_now(admin: &Admin) -> Result<DateTime<Utc>, ApiError> {
    if admin.sales.clock.database().is_none() {
        // Measures it.
        admin.read(admin.sales.store.live()).await?;
    }
    let reading = admin.sales.clock.database().ok_or_else(|| {
        let source = "the database's clock is not known yet".into();
        ApiError::from(PortError::Unavailable { what: "the database's clock", source })
    })?;
    Ok(reading.at)
}

fn operated(sale: Sale, progress: Option<Progress>, now: DateTime<Utc>) -> OperatedSale {
    OperatedSale {
        sale_id: sale.id.to_string(),
        state: sale.window.state_at(now).as_str(),
        scheduled: sale.scheduled,
        starts_at: rfc3339(sale.window.starts_at()),
        ends_at: rfc3339(sale.window.ends_at()),
        buyer_limit: sale.buyer_limit,
        items: sale.items,
        sold: progress.as_ref().map_or(0, |progress| progress.sold),
        remaining: progress.as_ref().map_or(0, |progress| progress.remaining),
        name: sale.name,
    }
}
