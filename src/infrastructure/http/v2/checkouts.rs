//! `/v2/checkouts…`: collecting, changing and buying.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::super::checkout::beyond;
use super::super::error::Faults;
use super::super::json_body::{Json as Given, Members, object};
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
#[derive(Serialize)]
pub(super) struct Checkout {
    code: String,
    sale_id: String,
    buyer_id: String,
    state: &'static str,
    pieces: i32,
    items: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
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
                Stage::Open => "open",
                Stage::Purchased => "purchased",
                Stage::Closed => "closed",
            },
            pieces: items.iter().map(|line| line.quantity).sum(),
            items,
        }
    }
}

/// `POST /v2/checkouts`
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

/// `GET /v2/checkouts/{code}`
pub(super) async fn one(
    State(api): State<Api>,
    code: Result<Path<String>, PathRejection>,
) -> Result<Json<Checkout>, Problem> {
    let claim = claim(code.map(|Path(code)| code))?;
    let found = api.read(api.once.find(claim)).await?;
    Ok(Json(found.ok_or(ApiError::CodeNotFound)?.into()))
}

/// `PUT /v2/checkouts/{code}/items/{item_id}`
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

/// `DELETE /v2/checkouts/{code}/items/{item_id}`
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

/// `POST /v2/checkouts/{code}/purchase`
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
