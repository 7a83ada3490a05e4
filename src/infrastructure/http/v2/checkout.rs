//! `GET /v2/checkouts/{code}`: one checkout.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};

use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::model::checkout::Checkout;
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::problems::CodeProblems;
use crate::infrastructure::http::request::path::code_claim;
use crate::infrastructure::http::state::HttpState;

/// Get a checkout
#[utoipa::path(
    get,
    path = "/checkouts/{code}",
    operation_id = "checkout",
    tag = "checkouts",
    params(("code" = schema::Code, Path, description = "The checkout's code."),),
    responses((status = 200, description = "The current state of the checkout.", body = Checkout), CodeProblems),
)]
pub(crate) async fn get(
    State(http): State<HttpState>,
    code: Result<Path<String>, PathRejection>,
) -> Result<Json<Checkout>, Problem> {
    let claim = code_claim(code)?;
    let checkout = http.read(http.idempotency.find(claim)).await?;
    Ok(Json(checkout.ok_or(ApiError::CodeNotFound)?.into()))
}
