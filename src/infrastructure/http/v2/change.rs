//! What `PUT` and `DELETE /v2/checkouts/{code}/items/{item_id}` share: the path, the change and the response.

use std::sync::Arc;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::checkout_tag::tagged;
use super::keyed::keyed_response;
use crate::application::checkout::CheckoutRefusal;
use crate::application::idempotency::{ChangeCommand, CheckoutReply};
use crate::application::ports::Keyed;
use crate::domain::ids::ItemId;
use crate::infrastructure::http::access::caller::Caller;
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::error::{ApiError, ValidationErrors};
use crate::infrastructure::http::request::params::{escapes_are_whole, quantity_out_of_range};
use crate::infrastructure::http::request::path::NOT_UTF8;
use crate::infrastructure::http::state::HttpState;

/// Changes the checkout. Repeated requests with the same key change it once.
pub(crate) async fn change_checkout(
    http: &HttpState,
    caller: &Caller,
    command: ChangeCommand,
) -> Result<Response, Problem> {
    let claim = command.claim;
    let idempotency = Arc::clone(&http.of(claim.sale).idempotency);
    let change = async move { idempotency.change(command).await };
    let changed = http.run_to_end("checkout", change).await?;
    if matches!(changed, Keyed::UnknownCode) {
        return Err(http.no_code(claim, ApiError::CodeNotFound).await.into());
    }
    keyed_response(changed, caller, |changed| match changed {
        CheckoutReply::Accepted { view, created } => {
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            Ok((status, tagged(view)).into_response())
        }
        CheckoutReply::Refused(CheckoutRefusal::QuantityBeyondLimit(limit)) => {
            Err(ApiError::invalid("#/quantity", quantity_out_of_range(limit)).into())
        }
        CheckoutReply::Refused(refusal) => Err(refusal.into()),
    })
}

/// Splits the path into the code, which is parsed later, and the item. The error of an invalid item id is added to `errors`.
pub(crate) fn code_and_item(
    uri: &Uri,
    path: Result<Path<(String, String)>, PathRejection>,
    errors: &mut ValidationErrors,
) -> (Result<Path<String>, PathRejection>, Option<ItemId>) {
    match path {
        Ok(Path((code, item))) if escapes_are_whole(uri.path()) => {
            let item = ItemId::parse(&item);
            let item = item.map_err(|error| errors.insert("item_id".into(), error.to_string()));
            (Ok(Path(code)), item.ok())
        }
        path => {
            errors.insert("item_id".into(), NOT_UTF8.to_owned());
            (path.map(|Path((code, _))| Path(code)), None)
        }
    }
}
