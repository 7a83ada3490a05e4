//! `GET /v1/sales/{sale_id}`: one sale.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};

use super::sale_body::SaleBody;
use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::problems::V1SaleProblems;
use crate::infrastructure::http::request::path;
use crate::infrastructure::http::state::HttpState;

/// Get a sale
///
/// With the database's clock, and the pieces that are sold and that are left.
#[utoipa::path(
    get,
    path = "/sales/{sale_id}",
    operation_id = "v1_sale",
    tag = "version 1",
    params(("sale_id" = schema::SaleId, Path, description = "The sale.")),
    responses((status = 200, description = "The current state of the sale.", body = SaleBody), V1SaleProblems),
)]
pub(crate) async fn get(
    State(http): State<HttpState>,
    sale_id: Result<Path<String>, PathRejection>,
) -> Result<Json<SaleBody>, ApiError> {
    let sale = path::sale_id(sale_id)?;
    match http.read(http.of(sale).browse.sale(sale)).await? {
        Some(view) => Ok(Json(view.into())),
        None => Err(http.no_sale(sale).await),
    }
}
