//! `POST /v2/checkouts/{code}/purchase`: buy a checkout.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::checkouts::claim;
use super::idempotency::{answer, required, used_for};
use super::purchases::Purchase;
use super::{Api, ApiError, Problem};
use crate::application::purchase::Purchased;
use crate::domain::code::CodeClaim;
use crate::domain::purchase::Verdict;
use crate::infrastructure::http::error::Faults;
use crate::infrastructure::http::framing::unconditional;
use crate::infrastructure::http::openapi::answers::Bought;
use crate::infrastructure::http::openapi::problems::Buy;
use crate::infrastructure::http::openapi::schema;
use crate::infrastructure::http::purchase::REPLAYED;

/// Buy a checkout
///
/// Buys as many lines as are still there, in one transaction. The answers 200, 409 `items_already_sold` and 400
/// `user_limit_exceeded` are stored, and hold the purchase: every repeat gets the same, also after the sale, and also
/// with another key.
#[utoipa::path(
    post,
    path = "/v2/checkouts/{code}/purchase",
    operation_id = "buy",
    tag = "checkouts",
    params(
        ("code" = schema::Code, Path, description = "The checkout's code."),
        ("Idempotency-Key" = schema::IdempotencyKey, Header, description = "Keeps a repeat from happening again."),
    ),
    responses(Bought, Buy),
)]
pub(crate) async fn post(
    State(api): State<Api>,
    code: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    unconditional(&headers)?;
    let mut faults = Faults::new();
    let Some(key) = required(&headers, &mut faults)? else {
        return Err(ApiError::Validation(faults).into());
    };
    let claim = claim(code.map(|Path(code)| code))?;
    let command = api.purchase.admit(claim).ok_or(ApiError::CodeNotFound)?;
    let key = used_for(key, &["purchase", &claim.to_string()]);
    let once = Arc::clone(&api.once);
    let done = api.run(async move { once.purchase(command, key).await }).await?;
    answer(done, |purchased| sold(claim, purchased))
}

fn sold(claim: CodeClaim, purchased: Purchased) -> Result<Response, Problem> {
    let (outcome, items, replayed) = match purchased {
        Purchased::Settled { outcome, items, replayed } => (outcome, items, replayed),
        Purchased::UnknownCode => return Err(ApiError::CodeNotFound.into()),
        Purchased::Refused(reason) => return Err(ApiError::from(reason).into()),
        Purchased::KeyUsed => return Err(ApiError::KeyInUse.into()),
    };
    let verdict = outcome.verdict();
    let purchase = Purchase::new(claim, &outcome, items);
    let mut response = match verdict {
        Verdict::Bought => Json(purchase).into_response(),
        Verdict::NothingLeft => Problem::with(ApiError::ItemsAlreadySold, purchase).into_response(),
        Verdict::LimitReached => {
            Problem::with(ApiError::UserLimitExceeded, purchase).into_response()
        }
    };
    let headers = response.headers_mut();
    if let Ok(place) = HeaderValue::try_from(format!("/v2/purchases/{claim}")) {
        headers.insert(header::CONTENT_LOCATION, place);
    }
    if replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}
