//! `/admin/sales/{sale_id}/items`: import items, and add pieces to one.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::parts::segment_pair;
use crate::application::operators::import_items::{ImportError, ImportReport};
use crate::application::operators::restock::{RestockCommand, RestockError};
use crate::application::ports::{
    ImportRefusal, ImportStop, ImportTarget, ItemFormat, ItemSource, PortError,
};
use crate::domain::ids::{ItemId, SaleId};
use crate::domain::import::Rejected;
use crate::domain::restock::RestockRefusal;
use crate::domain::sale::MAX_STOCK;
use crate::infrastructure::http::admin::call::Call;
use crate::infrastructure::http::admin::metrics::Action;
use crate::infrastructure::http::admin::perform::{Done, perform};
use crate::infrastructure::http::admin::state::AdminState;
use crate::infrastructure::http::admin::stream::stream;
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::error::{ApiError, ValidationErrors};
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::params::OptionalIdempotencyKeyHeader;
use crate::infrastructure::http::openapi::problems::problems;
use crate::infrastructure::http::request::json_body::read_object;
use crate::infrastructure::http::request::params::Params;
use crate::infrastructure::http::request::path;

const CSV: &str = "text/csv";
const JSON_LINES: &str = "application/x-ndjson";

/// What an import has done.
#[derive(Serialize, ToSchema)]
struct ImportBody {
    #[schema(value_type = schema::SaleId)]
    sale_id: String,
    /// Number of items.
    #[schema(minimum = 0, maximum = 1_000_000, examples(2))]
    imported: i32,
    /// Rows that were left out, in the order of their lines.
    rejected: Vec<RejectedBody>,
}

/// What is wrong with a row.
#[derive(Serialize, ToSchema)]
struct RejectedBody {
    /// From 1.
    #[schema(minimum = 1, examples(3))]
    line: u64,
    /// Null for the whole line.
    #[schema(value_type = Option<String>, required = true, examples("stock"))]
    field: Option<&'static str>,
    #[schema(examples("must be a whole number from 1 to 100000000"))]
    why: &'static str,
}

/// Pieces to add.
#[derive(ToSchema)]
#[schema(example = json!({"pieces": 5}))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it documents the body that `restock` parses")]
struct RestockBody {
    /// Negative: pieces to take from those that are left. Not 0.
    #[schema(minimum = -100_000_000, maximum = 100_000_000)]
    pieces: i32,
}

/// The stock of an item.
#[derive(Serialize, ToSchema)]
struct StockBody {
    #[schema(value_type = schema::SaleId)]
    sale_id: String,
    #[schema(value_type = schema::ItemId)]
    id: String,
    /// Pieces in total.
    #[schema(minimum = 0, maximum = 100_000_000, examples(6))]
    stock: i32,
    #[schema(minimum = 0, maximum = 100_000_000, examples(1))]
    sold: i32,
    #[schema(minimum = 0, maximum = 100_000_000, examples(5))]
    remaining: i32,
}

problems! {
    /// Errors of imports.
    ImportProblems in Two: "unauthorized" "forbidden" "idempotency_key_in_use" "idempotency_key_reused" "answer_lost"
        "change_refused" "sale_not_found" "sale_archived" "unsupported_media_type" "import_rejected";
    /// Errors of restocks.
    RestockProblems in Two: "unauthorized" "forbidden" "idempotency_key_in_use" "idempotency_key_reused" "answer_lost"
        "change_refused" "sale_not_found" "sale_archived" "item_not_found" "unsupported_media_type";
}

/// Import items
///
/// Into a sale that starts more than ten seconds from now: CSV with the header `id,name,image_url,stock`, or a JSON object with these
/// members on each line; up to a million items, read as they arrive. All or nothing: one bad row means 422 with all bad rows, and so does
/// a body that ends too early. With `partial` the good rows are imported. Of a repeat with the same Idempotency-Key the body is not
/// compared.
#[utoipa::path(
    post,
    path = "/sales/{sale_id}/items",
    operation_id = "import_items",
    tag = "sales",
    params(
        ("sale_id" = schema::SaleId, Path, description = "The sale."),
        ("partial" = Option<bool>, Query, description = "Import the good rows, instead of nothing, if there are bad ones."),
        OptionalIdempotencyKeyHeader,
    ),
    request_body(
        description = "The items.",
        content(
            (String = "text/csv", example = json!("id,name,image_url,stock\nsocks/red,Red socks,https://images.example/1.jpg,5\n")),
            (String = "application/x-ndjson", example = json!("{\"id\":\"socks/red\",\"name\":\"Red socks\",\"image_url\":\"https://images.example/1.jpg\",\"stock\":5}\n")),
        ),
    ),
    responses(
        (status = 200, description = "The items were imported.", body = ImportBody),
        ImportProblems,
    ),
)]
pub(crate) async fn import(
    State(admin): State<AdminState>,
    call: Call,
    sale_id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<Response, Problem> {
    let sale = path::sale_id(sale_id)?;
    let format = format(&call.headers)?;
    let mut errors = ValidationErrors::new();
    let request = call.keyed(&[], &mut errors);
    let mut params = Params::parse(query.as_deref());
    let partial = params.flag("partial").unwrap_or_default();
    if !errors.is_empty() {
        return Err(ApiError::Validation(errors).into());
    }
    params.finish()?;
    let permit = Arc::clone(&admin.sales.imports).try_acquire_owned();
    let permit = permit.map_err(|_| PortError::Overloaded("the import of items"))?;

    let (feed, stream) = stream();
    let source = admin.sales.formats.open(format, Box::new(stream));
    let (own, actor) = (Arc::clone(&admin), call.operator.name());
    let work = async move {
        let _running = permit;
        let target = ImportTarget::Sale(sale);
        run(&own, (sale, target), (source, partial), &actor).await
    };
    // A task of its own, because the parser waits for the body that this one reads.
    let own = Arc::clone(&admin);
    let importing = admin.tasks.spawn(async move { perform(&own, request, work).await });
    feed.read(body, admin.body_timeout.get()).await;
    importing.await.map_err(|panic| ApiError::Internal(Arc::new(panic)))?
}

async fn run(
    admin: &AdminState,
    (sale, target): (SaleId, ImportTarget),
    (source, partial): (Box<dyn ItemSource>, bool),
    actor: &str,
) -> Result<Done, Problem> {
    let report = match admin.sales.import.execute(&target, source, partial, actor).await {
        Ok(report) => report,
        Err(ImportError::Port(error)) => return Err(error.into()),
        Err(ImportError::Refused(refusal)) => return Err(refused(admin, sale, &refusal).await),
    };
    let ImportReport { imported, rejected } = report;
    let rejected: Vec<RejectedBody> = rejected.iter().map(RejectedBody::from).collect();
    let Some(imported) = imported else {
        return Err(nothing(sale, &rejected));
    };
    let body =
        ImportBody { sale_id: imported.sale.to_string(), imported: imported.items, rejected };
    let done = Done::new(StatusCode::OK, &body, Some(Action::ItemsImported));
    Ok(done.settling_in(admin.settle_time))
}

async fn refused(admin: &AdminState, sale: SaleId, refusal: &ImportRefusal) -> Problem {
    match refusal {
        ImportRefusal::UnknownSale(sale) => admin.no_sale(*sale).await.into(),
        ImportRefusal::ItemsFixed(_) => Problem::detailed(ApiError::ChangeRefused, &refusal),
        ImportRefusal::Stopped(ImportStop::Source(why)) => broken(sale, &why),
        ImportRefusal::Nothing | ImportRefusal::Stopped(ImportStop::Rejected) => {
            broken(sale, &refusal)
        }
    }
}

/// Nothing was imported, because of the body as a whole.
fn broken(sale: SaleId, why: &impl ToString) -> Problem {
    let mut members = members_of_nothing(sale, &[]);
    members.insert("detail".to_owned(), why.to_string().into());
    Problem::with_members(ApiError::ImportRejected, members)
}

/// Nothing was imported, because of these rows.
fn nothing(sale: SaleId, rejected: &[RejectedBody]) -> Problem {
    Problem::with_members(ApiError::ImportRejected, members_of_nothing(sale, rejected))
}

fn members_of_nothing(sale: SaleId, rejected: &[RejectedBody]) -> Map<String, Value> {
    let rejected = serde_json::to_value(rejected).unwrap_or_default();
    let members = [
        ("sale_id", Value::from(sale.to_string())),
        ("imported", Value::from(0)),
        ("rejected", rejected),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The format that the media type of the body names.
fn format(headers: &HeaderMap) -> Result<ItemFormat, Problem> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let media_type = match (types.next(), types.next()) {
        (Some(media_type), None) => media_type.to_str().unwrap_or_default(),
        _ => "",
    };
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    let is_compressed =
        headers.get_all(header::CONTENT_ENCODING).iter().any(|coding| coding != "identity");
    let known = [(CSV, ItemFormat::Csv), (JSON_LINES, ItemFormat::JsonLines)];
    let known = known.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(media_type));
    known.filter(|_| !is_compressed).map(|(_, format)| format).ok_or_else(|| {
        let needed = format!("the body must be {CSV} or {JSON_LINES}, and not compressed");
        Problem::detailed(ApiError::MediaTypeUnsupported, &needed)
    })
}

/// Restock an item
///
/// Adds pieces to it, or takes some of those that are left. When this returns, all instances sell them.
#[utoipa::path(
    post,
    path = "/sales/{sale_id}/items/{item_id}/restock",
    operation_id = "restock_item",
    tag = "sales",
    params(
        ("sale_id" = schema::SaleId, Path, description = "The sale."),
        ("item_id" = schema::ItemId, Path, description = "The item, percent-encoded."),
        OptionalIdempotencyKeyHeader,
    ),
    request_body = RestockBody,
    responses(
        (status = 200, description = "The stock of the item as it is now.", body = StockBody),
        RestockProblems,
    ),
)]
pub(crate) async fn restock(
    State(admin): State<AdminState>,
    call: Call,
    path: Result<Path<(String, String)>, PathRejection>,
    body: Bytes,
) -> Result<Response, Problem> {
    let (sale, item) = segment_pair(&call.uri, path)?;
    let sale = SaleId::parse(&sale).ok_or(ApiError::SaleNotFound)?;
    let item = ItemId::parse(&item).map_err(|_| ApiError::ItemNotFound)?;
    let mut errors = ValidationErrors::new();
    let request = call.keyed(&body, &mut errors);
    let pieces = read_object(&call.headers, &body, &mut errors, |members| {
        members.required("pieces", |json| match json.integer(-MAX_STOCK, MAX_STOCK) {
            Ok(0) => Err("must not be 0".to_owned()),
            pieces => pieces,
        })
    })?;
    let (Some(pieces), true) = (pieces, errors.is_empty()) else {
        return Err(ApiError::Validation(errors).into());
    };
    let (own, actor) = (Arc::clone(&admin), call.operator.name());
    let work = async move {
        let command = RestockCommand { sale, item, pieces };
        let stock = match own.sales.restock.execute(&command, &actor).await {
            Ok(stock) => stock,
            Err(RestockError::Refused(refusal)) => return Err(not_restocked(&own, &refusal).await),
            Err(RestockError::Port(error)) => return Err(error.into()),
            Err(error @ RestockError::Nothing) => {
                return Err(Problem::detailed(ApiError::ChangeRefused, &error));
            }
        };
        let body = StockBody {
            sale_id: sale.to_string(),
            id: command.item.as_str().to_owned(),
            stock: stock.pieces,
            sold: stock.sold,
            remaining: stock.pieces - stock.sold,
        };
        let done = Done::new(StatusCode::OK, &body, Some(Action::Restocked));
        Ok(done.settling_in(own.settle_time))
    };
    perform(&admin, request, work).await
}

async fn not_restocked(admin: &AdminState, refusal: &RestockRefusal) -> Problem {
    match refusal {
        RestockRefusal::UnknownSale(sale) => admin.no_sale(*sale).await.into(),
        RestockRefusal::UnknownItem(_) => ApiError::ItemNotFound.into(),
        RestockRefusal::Ended | RestockRefusal::TooMany(_) | RestockRefusal::BelowSold(_) => {
            Problem::detailed(ApiError::ChangeRefused, &refusal)
        }
    }
}

impl From<&Rejected> for RejectedBody {
    fn from(fault: &Rejected) -> Self {
        Self { line: fault.line, field: fault.field, why: fault.why }
    }
}
