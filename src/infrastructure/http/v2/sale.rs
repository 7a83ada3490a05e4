//! `GET /v2/sales/{sale_id}`: one sale.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

use super::sale_body::{Sale, with_server_time};
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::model::etag::with_etag;
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::answers::NotModified;
use crate::infrastructure::http::openapi::params::IfNoneMatchHeader;
use crate::infrastructure::http::openapi::problems::SaleProblems;
use crate::infrastructure::http::request::path;
use crate::infrastructure::http::state::HttpState;

/// Get a sale
///
/// Its window, its limit, and the pieces that are sold and that are left.
#[utoipa::path(
    get,
    path = "/sales/{sale_id}",
    operation_id = "sale",
    tag = "sales",
    params(("sale_id" = schema::SaleId, Path, description = "The sale."), IfNoneMatchHeader),
    responses(
        (status = 200, description = "The current state of the sale.", body = Sale,
         headers(("ETag" = String, description = "Identifies this response, for `If-None-Match`."),
                 ("Server-Time" = String, description = "The database's clock, which opens and ends sales (RFC 3339)."))),
        NotModified,
        SaleProblems,
    ),
)]
pub(crate) async fn get(
    State(http): State<HttpState>,
    sale_id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let sale = path::sale_id(sale_id)?;
    let Some(view) = http.read(http.of(sale).browse.sale(sale)).await? else {
        return Err(http.no_sale(sale).await.into());
    };
    let now = view.server_time;
    let response = Json(Sale::from(view)).into_response();
    Ok(with_server_time(with_etag(&headers, response).await, now))
}
