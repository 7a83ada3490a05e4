//! `/admin/sales/{sale_id}/report`: how a sale has sold.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::ToSchema;

use crate::application::sale_report::ReportError;
use crate::domain::sale_report::SaleReport;
use crate::infrastructure::http::admin::state::AdminState;
use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::problems::problems;
use crate::infrastructure::http::request::path;

/// The report of a sale, as `flash-sale sale report` prints it.
#[derive(ToSchema)]
#[schema(example = json!({"sale_id": "S-1", "sold": 17, "refusals": {"item_sold_out": 3}}))]
#[expect(dead_code, reason = "it documents a body")]
struct Report {
    #[schema(value_type = schema::SaleId)]
    sale_id: String,
    /// Pieces.
    #[schema(minimum = 0)]
    sold: i64,
    /// How often each reason was given.
    #[schema(value_type = Object)]
    refusals: String,
}

problems! {
    /// Errors of reports.
    ReportProblems in Two: "unauthorized" "forbidden" "sale_not_found"
        "sale_archived";
}

/// Report on a sale
///
/// The final report of a closed sale, or what there is so far.
#[utoipa::path(
    get,
    path = "/sales/{sale_id}/report",
    operation_id = "report_sale",
    tag = "sales",
    params(("sale_id" = schema::SaleId, Path, description = "The sale.")),
    responses((status = 200, description = "The report.", body = Report), ReportProblems),
)]
pub(crate) async fn report(
    State(admin): State<AdminState>,
    sale_id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let report = read(&admin, sale_id).await?;
    Ok(Json((admin.reports.document)(&report)).into_response())
}

/// Draw a sale
///
/// The picture of its report.
#[utoipa::path(
    get,
    path = "/sales/{sale_id}/report.svg",
    operation_id = "draw_sale",
    tag = "sales",
    params(("sale_id" = schema::SaleId, Path, description = "The sale.")),
    responses(
        (status = 200, description = "The picture.", body = String, content_type = "image/svg+xml", example = json!("<svg xmlns=\"http://www.w3.org/2000/svg\"/>")),
        ReportProblems,
    ),
)]
pub(crate) async fn picture(
    State(admin): State<AdminState>,
    sale_id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let report = read(&admin, sale_id).await?;
    let picture = (admin.reports.picture)(&report);
    Ok(([(header::CONTENT_TYPE, "image/svg+xml")], picture).into_response())
}

async fn read(
    admin: &AdminState,
    sale_id: Result<Path<String>, PathRejection>,
) -> Result<SaleReport, ApiError> {
    let sale = path::sale_id(sale_id)?;
    let reading = admin.reports.report.execute(sale);
    let report = tokio::time::timeout(admin.request_timeout.get(), reading).await;
    match report.map_err(|_| ApiError::TimedOut)? {
        Ok(report) => Ok(report),
        Err(ReportError::UnknownSale(sale)) => Err(admin.no_sale(sale).await),
        Err(ReportError::Port(error)) => Err(error.into()),
    }
}
