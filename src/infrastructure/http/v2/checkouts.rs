//! `/v2/checkouts…`: collecting, changing and buying.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::checkout::beyond;
use super::super::error::Faults;
use super::super::json_body::{Json as Given, Members, object};
use super::super::openapi::problems::{Buy, Change, Collect, OfCode, Remove};
use super::super::openapi::schema;
use super::super::params::sale_id;
use super::idempotency::{answer, optional, required, used_for};
use super::purchases::Purchase;
use super::{Api, ApiError, Problem};
use crate::application::checkout::{CheckoutCommand, CheckoutRefusal, Wanted, Wish};
use crate::application::once::{ChangeCommand, Changed, CheckoutView, Stage};
use crate::application::purchase::Purchased;
use crate::domain::code::CodeClaim;
use crate::domain::ids::{BuyerId, ItemId, Quantity, SaleId};
use crate::domain::purchase::Verdict;

/// Most items that one request may name.
const MAX_ITEMS: usize = 100;

/// A checkout, with its items in the order in which they were collected.
#[derive(Serialize, ToSchema)]
pub(super) struct Checkout {
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

/// How many of an item.
#[derive(ToSchema)]
#[schema(as = NewQuantity, example = json!({"quantity": 2}))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes what `put` reads")]
struct HowMany {
    #[schema(value_type = schema::Quantity)]
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
    responses(
        (status = 200, description = "The checkout that was open has them.", body = Checkout, links(
             ("checkout" = (operation_id = "checkout", parameters(("code" = "$response.body#/code")))),
             ("put item" = (operation_id = "put_item", parameters(("code" = "$response.body#/code"), ("item_id" = "$response.body#/items/0/id")))),
             ("remove item" = (operation_id = "remove_item", parameters(("code" = "$response.body#/code"), ("item_id" = "$response.body#/items/0/id")))),
             ("buy" = (operation_id = "buy", parameters(("code" = "$response.body#/code")))),
             ("purchase" = (operation_id = "purchase_of_code", parameters(("code" = "$response.body#/code")))),
         ), headers(("Idempotent-Replayed" = String, description = "`true` where it is the first answer again."))),
        (status = 201, description = "A new checkout has them.", body = Checkout, links(
             ("checkout" = (operation_id = "checkout", parameters(("code" = "$response.body#/code")))),
             ("put item" = (operation_id = "put_item", parameters(("code" = "$response.body#/code"), ("item_id" = "$response.body#/items/0/id")))),
             ("remove item" = (operation_id = "remove_item", parameters(("code" = "$response.body#/code"), ("item_id" = "$response.body#/items/0/id")))),
             ("buy" = (operation_id = "buy", parameters(("code" = "$response.body#/code")))),
             ("purchase" = (operation_id = "purchase_of_code", parameters(("code" = "$response.body#/code")))),
         ),
         headers(("Location" = String, description = "The checkout."), ("Idempotent-Replayed" = String, description = "`true` where it is the first answer again."))),
        Collect,
    ),
)]
pub(super) async fn post(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
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
    let in_sale = sale.map_or_else(String::new, |sale| sale.to_string());
    let mut words = vec!["collect".to_owned(), in_sale];
    for Wanted { item, quantity } in &wanted {
        words.extend([item.as_str().to_owned(), quantity.get().to_string()]);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let key = Some(used_for(key, &words));
    let quantities: Vec<i32> = wanted.iter().map(|wanted| wanted.quantity.get()).collect();
    let command = CheckoutCommand { buyer, wish: Wish::Set(wanted), sale, attempt: None, key };
    let once = Arc::clone(&api.once);
    let done = api.run(async move { once.checkout(command).await }).await?;
    answer(done, |changed| match changed {
        Changed::Accepted { view, created } => Ok(collected(view, created)),
        Changed::Refused(CheckoutRefusal::QuantityBeyondLimit(limit)) => {
            let too_large = quantities.iter().enumerate().filter(|(_, pieces)| **pieces > limit);
            let faults =
                too_large.map(|(n, _)| (format!("#/items/{n}/quantity").into(), beyond(limit)));
            Err(ApiError::Validation(faults.collect()).into())
        }
        Changed::Refused(why) => Err(refused(why)),
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
pub(super) async fn one(
    State(api): State<Api>,
    code: Result<Path<String>, PathRejection>,
) -> Result<Json<Checkout>, Problem> {
    let claim = claim(code.map(|Path(code)| code))?;
    let found = api.read(api.once.find(claim)).await?;
    Ok(Json(found.ok_or(ApiError::CodeNotFound)?.into()))
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
    responses(
        (status = 200, description = "The item was in the checkout, and has this quantity now.", body = Checkout, headers(("Idempotent-Replayed" = String, description = "`true` where it is the first answer again."))),
        (status = 201, description = "The item is new in the checkout.", body = Checkout, headers(("Idempotent-Replayed" = String, description = "`true` where it is the first answer again."))),
        Change,
    ),
)]
pub(super) async fn put(
    State(api): State<Api>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let mut faults = Faults::new();
    let key = optional(&headers, &mut faults);
    let quantity =
        object(&headers, &body, &mut faults, |members| members.required("quantity", quantity))?;
    let (code, item) = line_of(path, &mut faults);
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
    responses(
        (status = 200, description = "The checkout without it.", body = Checkout, headers(("Idempotent-Replayed" = String, description = "`true` where it is the first answer again."))),
        Remove,
    ),
)]
pub(super) async fn delete(
    State(api): State<Api>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut faults = Faults::new();
    let key = optional(&headers, &mut faults);
    let (code, item) = line_of(path, &mut faults);
    let (Some(item), true) = (item, faults.is_empty()) else {
        return Err(ApiError::Validation(faults).into());
    };
    let claim = claim(code)?;
    let key = key.map(|key| used_for(key, &["delete", &claim.to_string(), item.as_str()]));
    change(&api, ChangeCommand { claim, wish: Wish::Remove(item), key }).await
}

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
    responses(
        (status = 200, description = "At least one line was bought.", body = Purchase,
         links(("purchase" = (operation_id = "purchase_of_code", parameters(("code" = "$response.body#/code"))))),
         headers(("Content-Location" = String, description = "The purchase."), ("Idempotent-Replayed" = String, description = "`true` where it is the first answer again."))),
        Buy,
    ),
)]
pub(super) async fn purchase(
    State(api): State<Api>,
    code: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
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

async fn change(api: &Api, command: ChangeCommand) -> Result<Response, Problem> {
    let once = Arc::clone(&api.once);
    let done = api.run(async move { once.change(command).await }).await?;
    answer(done, |changed| match changed {
        Changed::Accepted { view, created } => {
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            Ok((status, Json(Checkout::from(view))).into_response())
        }
        Changed::Refused(CheckoutRefusal::QuantityBeyondLimit(limit)) => {
            Err(ApiError::invalid("#/quantity", beyond(limit)).into())
        }
        Changed::Refused(why) => Err(refused(why)),
    })
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

fn refused(why: CheckoutRefusal) -> Problem {
    match why {
        CheckoutRefusal::BySale { reason, items } => Problem::about(reason.into(), &items),
        why => ApiError::from(why).into(),
    }
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
        headers.insert(super::super::purchase::REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// One of the items of a body.
fn wanted(members: &mut Members<'_>) -> Option<Wanted> {
    let item = members.required("id", |id| id.text(ItemId::parse));
    let quantity = members.optional("quantity", quantity);
    Some(Wanted { item: item?, quantity: quantity.unwrap_or(Quantity::ONE) })
}

fn quantity(given: &Given) -> Result<Quantity, &'static str> {
    Quantity::new(given.count()?).ok_or("must be a whole number from 1")
}

/// Which of two quantities of an item is meant nobody could say.
fn name_repeated(wanted: &[Wanted], members: &mut Members<'_>) {
    let mut seen = std::collections::HashSet::new();
    if !wanted.iter().all(|wanted| seen.insert(&wanted.item)) {
        members.fault("items", "must name every item once");
    }
}

/// Code and item of a path.
fn line_of(
    path: Result<Path<(String, String)>, PathRejection>,
    faults: &mut Faults,
) -> (Result<String, PathRejection>, Option<ItemId>) {
    match path {
        Ok(Path((code, item))) => {
            let item = ItemId::parse(&item);
            let item = item.map_err(|fault| faults.insert("item_id".into(), fault.to_string()));
            (Ok(code), item.ok())
        }
        Err(error) => {
            let fault = "is not valid percent-encoded UTF-8".to_owned();
            faults.insert("item_id".into(), fault);
            (Err(error), None)
        }
    }
}

fn claim(code: Result<String, PathRejection>) -> Result<CodeClaim, ApiError> {
    let code = code.map_err(|_| ApiError::CodeNotFound)?;
    CodeClaim::parse(&code).ok_or(ApiError::CodeNotFound)
}
