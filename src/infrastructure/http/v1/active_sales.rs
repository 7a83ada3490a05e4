//! `GET /v1/sales/active`: the open sales.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::sale_body::SaleBody;
use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::openapi::problems::V1ReadProblems;
use crate::infrastructure::http::state::HttpState;

#[derive(Serialize, ToSchema)]
pub(crate) struct SalesBody {
    data: Vec<SaleBody>,
}

/// List the open sales
///
/// The sale that the schedule has opened is the first.
#[utoipa::path(
    get,
    path = "/sales/active",
    operation_id = "v1_active_sales",
    tag = "version 1",
    responses((status = 200, description = "All open sales.", body = SalesBody), V1ReadProblems),
)]
pub(crate) async fn get(State(http): State<HttpState>) -> Result<Json<SalesBody>, ApiError> {
    let sales = http.read(http.home().browse.active()).await?;
    Ok(Json(SalesBody { data: sales.into_iter().map(SaleBody::from).collect() }))
}
