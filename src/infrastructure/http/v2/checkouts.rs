//! `POST /v2/checkouts`: collect items. `GET /v2/checkouts/{code}`: what is in a checkout.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::idempotency::{answer, required, used_for};
use super::{Api, ApiError, Problem};
use crate::application::checkout::{CheckoutCommand, CheckoutRefusal, Wanted, Wish};
use crate::application::once::{self, CheckoutView, Stage};
use crate::domain::code::CodeClaim;
use crate::domain::ids::{BuyerId, ItemId, Quantity, SaleId};
use crate::infrastructure::http::checkout::beyond;
use crate::infrastructure::http::error::Faults;
use crate::infrastructure::http::framing::unconditional;
use crate::infrastructure::http::json_body::{Json as Given, Members, object};
use crate::infrastructure::http::openapi::answers::Collected;
use crate::infrastructure::http::openapi::problems::{Collect, OfCode};
use crate::infrastructure::http::openapi::schema;
use crate::infrastructure::http::params::sale_id;

/// Most items that one request may name.
const MAX_ITEMS: usize = 100;

/// A checkout, with its items in the order in which they were collected.
#[derive(Serialize, ToSchema)]
pub(crate) struct Checkout {
    #[schema(value_type = schema::Code)]
    code: String,
    #[schema(value_type = schema::SaleId)]
    sale_id: String,
    #[schema(value_type = schema::BuyerId)]
    buyer_id: String,
    state: CheckoutState,
    /// Pieces of all items.
    pieces: i32,
    items: Vec<Line>,
}

/// What can be done with a checkout.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum CheckoutState {
    /// It can be changed and purchased.
    Open,
    /// It has been purchased, whatever that came to.
    Purchased,
    /// Nothing: its sale is not open.
    Closed,
}

#[derive(Serialize, ToSchema)]
#[schema(as = CollectedItem)]
struct Line {
    #[schema(value_type = schema::ItemId)]
    id: String,
    name: String,
    image_url: String,
    quantity: i32,
}

impl From<CheckoutView> for Checkout {
    fn from(view: CheckoutView) -> Self {
        let CheckoutView { code, buyer, lines, stage } = view;
        let lines = lines.into_iter().map(|(item, quantity)| Line {
            id: item.id.as_str().to_owned(),
            name: item.name,
            image_url: item.image_url,
            quantity: quantity.get(),
        });
        let items: Vec<Line> = lines.collect();
        Self {
            code: code.to_string(),
            sale_id: code.sale.to_string(),
            buyer_id: buyer.as_str().to_owned(),
            state: match stage {
                Stage::Open => CheckoutState::Open,
                Stage::Purchased => CheckoutState::Purchased,
                Stage::Closed => CheckoutState::Closed,
            },
            pieces: items.iter().map(|line| line.quantity).sum(),
            items,
        }
    }
}

/// Items for a buyer's checkout.
#[derive(ToSchema)]
#[schema(as = NewItems, example = json!({"buyer_id": "ann", "sale_id": "S-1", "items": [{"id": "17", "quantity": 2}, {"id": "4"}]}))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes what `post` reads")]
struct Wishes {
    #[schema(value_type = schema::BuyerId)]
    buyer_id: String,
    /// Without it the sale that the schedule has opened is meant, else the only one that is open.
    #[schema(value_type = schema::SaleId, required = false)]
    sale_id: String,
    /// Each item once.
    #[schema(min_items = 1, max_items = 100)]
    items: Vec<NewItem>,
}

/// One of them.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes what `post` reads")]
struct NewItem {
    #[schema(value_type = schema::ItemId)]
    id: String,
    #[schema(value_type = schema::Quantity, required = false)]
    quantity: i32,
}

/// Collect items
///
/// Sets the quantities of these items in the buyer's open checkout, all of them or none, and opens a checkout if there is none.
/// Nothing is reserved.
#[utoipa::path(
    post,
    path = "/v2/checkouts",
    operation_id = "collect",
    tag = "checkouts",
    params(("Idempotency-Key" = schema::IdempotencyKey, Header, description = "Keeps a repeat from happening again."),),
    request_body = Wishes,
    responses(Collected, Collect),
)]
pub(crate) async fn post(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    unconditional(&headers)?;
    let mut faults = Faults::new();
    let key = required(&headers, &mut faults)?;
    let (buyer, sale, wanted) = object(&headers, &body, &mut faults, |members| {
        let buyer = members.required("buyer_id", |id| id.text(BuyerId::parse));
        let sale = members.optional("sale_id", |id| id.text(sale_id));
        let wanted = members.objects("items", MAX_ITEMS, wanted);
        name_repeated(&wanted, members);
        (buyer, sale, wanted)
    })?;
    let (Some(buyer), Some(key), true) = (buyer, key, faults.is_empty()) else {
        return Err(ApiError::Validation(faults).into());
    };
    let sale: Option<SaleId> = sale.transpose()?;
    let key = Some(used_for(key, &words(sale, &wanted)));
    let quantities: Vec<i32> = wanted.iter().map(|wanted| wanted.quantity.get()).collect();
    let command = CheckoutCommand { buyer, wish: Wish::Set(wanted), sale, attempt: None, key };
    let once = Arc::clone(&api.once);
    let done = api.run(async move { once.checkout(command).await }).await?;
    answer(done, |changed| match changed {
        once::Changed::Accepted { view, created } => Ok(collected(view, created)),
        once::Changed::Refused(CheckoutRefusal::QuantityBeyondLimit(limit)) => {
            let too_large = quantities.iter().enumerate().filter(|(_, pieces)| **pieces > limit);
            let faults =
                too_large.map(|(n, _)| (format!("#/items/{n}/quantity").into(), beyond(limit)));
            Err(ApiError::Validation(faults.collect()).into())
        }
        once::Changed::Refused(why) => Err(refused(why)),
    })
}

/// One checkout
#[utoipa::path(
    get,
    path = "/v2/checkouts/{code}",
    operation_id = "checkout",
    tag = "checkouts",
    params(("code" = schema::Code, Path, description = "The checkout's code."),),
    responses((status = 200, description = "The checkout as it is now.", body = Checkout), OfCode),
)]
pub(crate) async fn one(
    State(api): State<Api>,
    code: Result<Path<String>, PathRejection>,
) -> Result<Json<Checkout>, Problem> {
    let claim = claim(code.map(|Path(code)| code))?;
    let found = api.read(api.once.find(claim)).await?;
    Ok(Json(found.ok_or(ApiError::CodeNotFound)?.into()))
}

fn collected(view: CheckoutView, created: bool) -> Response {
    let location = HeaderValue::try_from(format!("/v2/checkouts/{}", view.code));
    let body = Json(Checkout::from(view));
    match location {
        Ok(location) if created => {
            (StatusCode::CREATED, [(header::LOCATION, location)], body).into_response()
        }
        _ => body.into_response(),
    }
}

pub(crate) fn refused(why: CheckoutRefusal) -> Problem {
    match why {
        CheckoutRefusal::BySale { reason, items } => Problem::about(reason.into(), &items),
        why => ApiError::from(why).into(),
    }
}

/// What tells this request from others.
fn words(sale: Option<SaleId>, wanted: &[Wanted]) -> Vec<String> {
    let in_sale = sale.map_or_else(String::new, |sale| sale.to_string());
    let lines = wanted
        .iter()
        .flat_map(|wanted| [wanted.item.as_str().to_owned(), wanted.quantity.get().to_string()]);
    ["collect".to_owned(), in_sale].into_iter().chain(lines).collect()
}

/// One of the items of a body.
fn wanted(members: &mut Members<'_>) -> Option<Wanted> {
    let item = members.required("id", |id| id.text(ItemId::parse));
    let quantity = members.optional("quantity", quantity);
    Some(Wanted { item: item?, quantity: quantity.unwrap_or(Quantity::ONE) })
}

pub(crate) fn quantity(given: &Given) -> Result<Quantity, &'static str> {
    Quantity::new(given.count()?).ok_or("must be a whole number from 1")
}

/// Which of two quantities of an item is meant nobody could say.
fn name_repeated(wanted: &[Wanted], members: &mut Members<'_>) {
    let mut seen = HashSet::new();
    if !wanted.iter().all(|wanted| seen.insert(&wanted.item)) {
        members.fault("items", "must name every item once");
    }
}

/// A code, whose signature nobody has checked yet.
pub(crate) fn claim(code: Result<String, PathRejection>) -> Result<CodeClaim, ApiError> {
    let code = code.map_err(|_| ApiError::CodeNotFound)?;
    CodeClaim::parse(&code).ok_or(ApiError::CodeNotFound)
}
