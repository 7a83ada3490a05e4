//! `GET /v2/sales…`: which sales there are, and what they sell.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{OriginalUri, Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Datelike, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::etag::validated;
use super::listing::{ListBody, Listing, Part, StretchBody, pair};
use super::{Api, ApiError, Problem};
use crate::application::browse::{ListedSale, SaleView};
use crate::application::ports::{SaleFilter, SaleKey, StockedItem};
use crate::domain::ids::{ItemNo, SaleId};
use crate::domain::sale::SaleState;
use crate::infrastructure::http::json::rfc3339;
use crate::infrastructure::http::openapi::problems::{OfSale, Read};
use crate::infrastructure::http::openapi::schema;
use crate::infrastructure::http::paging::PageBody;
use crate::infrastructure::http::params::Params;
use crate::infrastructure::http::sales::named;

/// The database's clock: it changes with each answer, so it is not in the body, which may stay as it is.
const SERVER_TIME: HeaderName = HeaderName::from_static("server-time");

#[derive(Serialize, ToSchema)]
struct Sale {
    #[serde(flatten)]
    listed: Listed,
    pieces: Pieces,
}

/// A sale without what it has sold.
#[derive(Serialize, ToSchema)]
#[schema(as = ListedSale)]
struct Listed {
    #[schema(value_type = schema::SaleId)]
    id: String,
    name: String,
    #[schema(value_type = schema::SaleState)]
    state: &'static str,
    #[schema(format = DateTime, example = "2027-01-31T15:00:00Z")]
    starts_at: String,
    /// It is open before this moment.
    #[schema(format = DateTime, example = "2027-01-31T16:00:00Z")]
    ends_at: String,
    /// Most pieces a buyer may have.
    buyer_limit: i32,
    items: i32,
}

#[derive(Serialize, ToSchema)]
struct Pieces {
    sold: i64,
    remaining: i64,
}

#[derive(Serialize, ToSchema)]
struct Item {
    #[schema(value_type = schema::ItemId)]
    id: String,
    name: String,
    image_url: String,
    pieces: ItemPieces,
}

#[derive(Serialize, ToSchema)]
struct ItemPieces {
    stock: i32,
    remaining: i32,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ActiveSales)]
struct Active {
    data: Vec<Sale>,
}

impl From<ListedSale> for Listed {
    fn from(listed: ListedSale) -> Self {
        let ListedSale { sale, state } = listed;
        Self {
            id: sale.id.to_string(),
            name: sale.name,
            state: state.as_str(),
            starts_at: rfc3339(sale.window.starts_at()),
            ends_at: rfc3339(sale.window.ends_at()),
            buyer_limit: sale.buyer_limit,
            items: sale.items,
        }
    }
}

impl From<SaleView> for Sale {
    fn from(view: SaleView) -> Self {
        let SaleView { sale, state, progress, .. } = view;
        let pieces = Pieces { sold: progress.sold, remaining: progress.remaining };
        Self { listed: ListedSale { sale, state }.into(), pieces }
    }
}

impl From<StockedItem> for Item {
    fn from(stocked: StockedItem) -> Self {
        let StockedItem { item, stock, remaining } = stocked;
        Self {
            id: item.id.as_str().to_owned(),
            name: item.name,
            image_url: item.image_url,
            pieces: ItemPieces { stock, remaining },
        }
    }
}

/// Sales, newest start first
#[utoipa::path(
    get,
    path = "/v2/sales",
    operation_id = "sales",
    tag = "sales",
    params(
        ("state" = Option<schema::SaleState>, Query, description = "Only sales that are in this state now."),
        ("since" = Option<String>, Query, format = DateTime, description = "Only sales that start at this moment or later."),
        ("cursor" = Option<schema::Cursor>, Query, description = "Where the list goes on."),
        ("limit" = Option<schema::Limit>, Query, description = "Most entries of one answer."),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of an answer that the client has: 304 if it is still the same."),
    ),
    responses((status = 200, description = "A stretch of the list.", body = StretchBody<Listed>, headers(("ETag" = String, description = "Validator of this answer."))), (status = 304, description = "The client has it."), Read),
)]
pub(crate) async fn all(
    State(api): State<Api>,
    OriginalUri(uri): OriginalUri,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut params = Params::parse(query.as_deref());
    let state = params.optional("state", |text| {
        let states = [SaleState::Upcoming, SaleState::Open, SaleState::Ended];
        let named = states.into_iter().find(|state| state.as_str() == text);
        named.ok_or("must be upcoming, open or ended")
    });
    let since = params.optional("since", |text| {
        let moment = DateTime::parse_from_rfc3339(text).ok().map(|moment| moment.to_utc());
        let moment = moment.filter(|moment| (0..=9_999).contains(&moment.year()));
        moment.ok_or("must be a moment such as 2027-01-31T00:00:00Z")
    });
    let filters = [
        state.map(|state| format!("state={}&", state.as_str())),
        since.map(|since| format!("since={}&", rfc3339(since))),
    ];
    let filters = filters.into_iter().flatten().collect::<Vec<_>>().concat();
    let listing = Listing { signer: &*api.cursors, path: uri.path(), filters };
    params.refuse_if_given("page", "this list has no pages: follow next_cursor");
    let after = listing.after(&mut params, |place| {
        let (micros, sale) = pair(place)?;
        let starts_at = DateTime::<Utc>::from_timestamp_micros(micros)?;
        Some(SaleKey { starts_at, sale: SaleId::new(sale)? })
    });
    params.finish()?;
    let sales = api.read(api.browse.sales(SaleFilter { state, since }, after)).await?;
    let place =
        |next: &SaleKey| format!("{}.{}", next.starts_at.timestamp_micros(), next.sale.get());
    let response = listing.answer::<_, _, Listed>(sales, after.limit, place);
    Ok(validated(&headers, response).await)
}

/// Sales that are open
///
/// The one that the schedule has opened comes first.
#[utoipa::path(
    get,
    path = "/v2/sales/active",
    operation_id = "active_sales",
    tag = "sales",
    params(("If-None-Match" = Option<String>, Header, description = "The `ETag` of an answer that the client has: 304 if it is still the same."),),
    responses((status = 200, description = "All of them.", body = Active, headers(("ETag" = String, description = "Validator of this answer."))), (status = 304, description = "The client has it."), Read),
)]
pub(crate) async fn active(
    State(api): State<Api>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let sales = api.read(api.browse.active()).await?;
    let now = sales.first().map(|view| view.server_time);
    let body = Json(Active { data: sales.into_iter().map(Sale::from).collect() });
    let response = validated(&headers, body.into_response()).await;
    Ok(match now {
        Some(now) => as_of(response, now),
        None => response,
    })
}

/// One sale
#[utoipa::path(
    get,
    path = "/v2/sales/{sale_id}",
    operation_id = "sale",
    tag = "sales",
    params(
        ("sale_id" = schema::SaleId, Path, description = "The sale."),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of an answer that the client has: 304 if it is still the same."),
    ),
    responses(
        (status = 200, description = "The sale as it is now.", body = Sale,
         headers(("ETag" = String, description = "Validator of this answer."), ("Server-Time" = String, description = "The clock that decides, RFC 3339."))),
        (status = 304, description = "The client has it."),
        OfSale,
    ),
)]
pub(crate) async fn one(
    State(api): State<Api>,
    sale_id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let sale = api.read(api.browse.sale(named(sale_id)?)).await?;
    let view = sale.ok_or(ApiError::SaleNotFound)?;
    let now = view.server_time;
    let body = Json(Sale::from(view)).into_response();
    Ok(as_of(validated(&headers, body).await, now))
}

/// Items of a sale, by number
///
/// By cursor it takes the same time at any depth. With `page` it is a page, and tells the list's length.
#[utoipa::path(
    get,
    path = "/v2/sales/{sale_id}/items",
    operation_id = "items",
    tag = "sales",
    params(
        ("sale_id" = schema::SaleId, Path, description = "The sale."),
        ("available" = Option<bool>, Query, description = "Only items that are not sold out."),
        ("page" = Option<schema::PageNumber>, Query, description = "Which page; not with `cursor`."),
        ("cursor" = Option<schema::Cursor>, Query, description = "Where the list goes on."),
        ("limit" = Option<schema::Limit>, Query, description = "Most entries of one answer."),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of an answer that the client has: 304 if it is still the same."),
    ),
    responses((status = 200, description = "Part of the list.", body = ListBody<Item>, headers(("ETag" = String, description = "Validator of this answer."))), (status = 304, description = "The client has it."), OfSale),
)]
pub(crate) async fn items(
    State(api): State<Api>,
    OriginalUri(uri): OriginalUri,
    sale_id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut params = Params::parse(query.as_deref());
    let available = params.flag("available");
    let filters = available.map_or_else(String::new, |flag| format!("available={flag}&"));
    let listing = Listing { signer: &*api.cursors, path: uri.path(), filters };
    let part = listing.part(&mut params, |place| place.parse().ok().map(ItemNo));
    params.finish()?;
    let (sale, available) = (named(sale_id)?, available.unwrap_or(false));
    let response = match part {
        Part::Page(page) => {
            let items = api.read(api.browse.items(sale, available, page)).await?;
            let items = items.ok_or(ApiError::SaleNotFound)?;
            let data: Vec<Item> = items.entries.into_iter().map(Item::from).collect();
            Json(PageBody::new(data, items.total, page)).into_response()
        }
        Part::After(after) => {
            let items = api.read(api.browse.items_after(sale, available, after)).await?;
            let items = items.ok_or(ApiError::SaleNotFound)?;
            let place = |next: &ItemNo| next.0.to_string();
            listing.answer::<_, _, Item>(items, after.limit, place)
        }
    };
    Ok(validated(&headers, response).await)
}

/// Tells the time that an answer is of.
fn as_of(mut response: Response, now: DateTime<Utc>) -> Response {
    if let Ok(now) = HeaderValue::try_from(rfc3339(now)) {
        response.headers_mut().insert(SERVER_TIME, now);
    }
    response
}
