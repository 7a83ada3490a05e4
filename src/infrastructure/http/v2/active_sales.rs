//! `GET /v2/sales/active`: the open sales.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::sale_body::{Sale, with_server_time};
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::model::etag::with_etag;
use crate::infrastructure::http::openapi::answers::NotModified;
use crate::infrastructure::http::openapi::params::IfNoneMatchHeader;
use crate::infrastructure::http::openapi::problems::ReadProblems;
use crate::infrastructure::http::state::HttpState;

#[derive(Serialize, ToSchema)]
struct ActiveSales {
    data: Vec<Sale>,
}

/// List the open sales
///
/// The sale that the schedule has opened is the first.
#[utoipa::path(
    get,
    path = "/sales/active",
    operation_id = "active_sales",
    tag = "sales",
    params(IfNoneMatchHeader),
    responses(
        (status = 200, description = "All open sales.", body = ActiveSales,
         headers(("ETag" = String, description = "Identifies this response, for `If-None-Match`."))),
        NotModified,
        ReadProblems,
    ),
)]
pub(crate) async fn get(
    State(http): State<HttpState>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let sales = http.read(http.home().browse.active()).await?;
    let now = sales.first().map(|view| view.server_time);
    let body = Json(ActiveSales { data: sales.into_iter().map(Sale::from).collect() });
    let response = with_etag(&headers, body.into_response()).await;
    Ok(match now {
        Some(now) => with_server_time(response, now),
        None => response,
    })
}
