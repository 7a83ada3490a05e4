//! `GET /v2/purchases/{code}`: the stored outcome of a code.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};

use crate::application::browse::PurchaseLookup;
use crate::infrastructure::http::access::caller::Caller;
use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::model::purchase::Purchase;
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::problems::problems;
use crate::infrastructure::http::request::path::code_claim;
use crate::infrastructure::http::state::HttpState;

/// Get the purchase of a code
///
/// What the purchase sold and what it did not, also after the sale.
#[utoipa::path(
    get,
    path = "/purchases/{code}",
    operation_id = "purchase_of_code",
    tag = "purchases",
    params(("code" = schema::Code, Path, description = "The checkout's code.")),
    responses((status = 200, description = "The stored outcome, also if nothing was bought.", body = Purchase), Problems),
)]
pub(crate) async fn get(
    State(http): State<HttpState>,
    caller: Caller,
    code: Result<Path<String>, PathRejection>,
) -> Result<Json<Purchase>, Problem> {
    let claim = code_claim(code)?;
    match http.read(http.of(claim.sale).browse.purchase(claim)).await? {
        PurchaseLookup::Found(view) => {
            caller.check_owner(&view.outcome.buyer)?;
            Ok(Json(view.into()))
        }
        PurchaseLookup::NotPurchased => {
            let error = http.no_code(claim, ApiError::NotPurchased).await;
            if matches!(error, ApiError::NotPurchased) {
                http.check_owner(&caller, claim).await?;
            }
            Err(error.into())
        }
        PurchaseLookup::UnknownCode => Err(ApiError::CodeNotFound.into()),
    }
}

problems! {
    /// The error responses.
    Problems in Two: "unauthorized" "not_your_checkout" "forbidden" "code_not_found" "not_purchased" "sale_archived";
}
