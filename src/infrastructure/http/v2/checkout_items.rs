//! `PUT` and `DELETE /v2/checkouts/{code}/items/{item_id}`: change a checkout.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{OriginalUri, Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use utoipa::ToSchema;

use super::checkouts::{Checkout, claim, quantity, refused};
use super::idempotency::{answer, optional, used_for};
use super::{Api, ApiError, Problem};
use crate::application::checkout::{CheckoutRefusal, Wanted, Wish};
use crate::application::once::{self, ChangeCommand};
use crate::domain::ids::ItemId;
use crate::infrastructure::http::checkout::beyond;
use crate::infrastructure::http::error::Faults;
use crate::infrastructure::http::framing::unconditional;
use crate::infrastructure::http::json_body::object;
use crate::infrastructure::http::openapi::answers::{Changed, Removed};
use crate::infrastructure::http::openapi::problems::{Change, Remove};
use crate::infrastructure::http::openapi::schema;
use crate::infrastructure::http::params::escapes_are_whole;

/// How many of an item.
#[derive(ToSchema)]
#[schema(as = NewQuantity, example = json!({"quantity": 2}))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes what `put` reads")]
struct HowMany {
    #[schema(value_type = schema::Quantity)]
    quantity: i32,
}

/// Set the quantity of an item
#[utoipa::path(
    put,
    path = "/v2/checkouts/{code}/items/{item_id}",
    operation_id = "put_item",
    tag = "checkouts",
    params(
        ("code" = schema::Code, Path, description = "The checkout's code."),
        ("item_id" = schema::ItemId, Path, description = "The item."),
        ("Idempotency-Key" = Option<schema::IdempotencyKey>, Header, description = "Keeps a repeat from happening again."),
    ),
    request_body = HowMany,
    responses(Changed, Change),
)]
pub(crate) async fn put(
    State(api): State<Api>,
    OriginalUri(uri): OriginalUri,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    unconditional(&headers)?;
    let mut faults = Faults::new();
    let key = optional(&headers, &mut faults);
    let quantity =
        object(&headers, &body, &mut faults, |members| members.required("quantity", quantity))?;
    let (code, item) = line_of(&uri, path, &mut faults);
    let (Some(quantity), Some(item), true) = (quantity, item, faults.is_empty()) else {
        return Err(ApiError::Validation(faults).into());
    };
    let claim = claim(code)?;
    let key = key.map(|key| {
        let words = ["put", &claim.to_string(), item.as_str(), &quantity.get().to_string()];
        used_for(key, &words)
    });
    let wish = Wish::Set(vec![Wanted { item, quantity }]);
    change(&api, ChangeCommand { claim, wish, key }).await
}

/// Take an item out
///
/// The same answer where it was not in the checkout.
#[utoipa::path(
    delete,
    path = "/v2/checkouts/{code}/items/{item_id}",
    operation_id = "remove_item",
    tag = "checkouts",
    params(
        ("code" = schema::Code, Path, description = "The checkout's code."),
        ("item_id" = schema::ItemId, Path, description = "The item."),
        ("Idempotency-Key" = Option<schema::IdempotencyKey>, Header, description = "Keeps a repeat from happening again."),
    ),
    responses(Removed, Remove),
)]
pub(crate) async fn delete(
    State(api): State<Api>,
    OriginalUri(uri): OriginalUri,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    unconditional(&headers)?;
    let mut faults = Faults::new();
    let key = optional(&headers, &mut faults);
    let (code, item) = line_of(&uri, path, &mut faults);
    let (Some(item), true) = (item, faults.is_empty()) else {
        return Err(ApiError::Validation(faults).into());
    };
    let claim = claim(code)?;
    let key = key.map(|key| used_for(key, &["delete", &claim.to_string(), item.as_str()]));
    change(&api, ChangeCommand { claim, wish: Wish::Remove(item), key }).await
}

async fn change(api: &Api, command: ChangeCommand) -> Result<Response, Problem> {
    let once = Arc::clone(&api.once);
    let done = api.run(async move { once.change(command).await }).await?;
    answer(done, |changed| match changed {
        once::Changed::Accepted { view, created } => {
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            Ok((status, Json(Checkout::from(view))).into_response())
        }
        once::Changed::Refused(CheckoutRefusal::QuantityBeyondLimit(limit)) => {
            Err(ApiError::invalid("#/quantity", beyond(limit)).into())
        }
        once::Changed::Refused(why) => Err(refused(why)),
    })
}

/// Code and item of a path.
fn line_of(
    uri: &Uri,
    path: Result<Path<(String, String)>, PathRejection>,
    faults: &mut Faults,
) -> (Result<String, PathRejection>, Option<ItemId>) {
    match path {
        Ok(Path((code, item))) if escapes_are_whole(uri.path()) => {
            let item = ItemId::parse(&item);
            let item = item.map_err(|fault| faults.insert("item_id".into(), fault.to_string()));
            (Ok(code), item.ok())
        }
        path => {
            let fault = "is not valid percent-encoded UTF-8".to_owned();
            faults.insert("item_id".into(), fault);
            (path.map(|Path((code, _))| code), None)
        }
    }
}
