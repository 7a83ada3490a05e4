//! `GET /v2/buyers/{buyer_id}/purchases`: what a buyer bought.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{OriginalUri, Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};

use super::listing::{ListBody, Listing, Part, pair};
use super::purchases::Purchase;
use super::{Api, ApiError, Problem};
use crate::application::ports::PurchaseKey;
use crate::domain::ids::{AttemptId, BuyerId};
use crate::infrastructure::http::openapi::problems::OfSale;
use crate::infrastructure::http::openapi::schema;
use crate::infrastructure::http::paging::PageBody;
use crate::infrastructure::http::params::{Params, escapes_are_whole};

/// What a buyer bought, newest first
#[utoipa::path(
    get,
    path = "/v2/buyers/{buyer_id}/purchases",
    operation_id = "purchases_of_buyer",
    tag = "purchases",
    params(
        ("buyer_id" = schema::BuyerId, Path, description = "The buyer."),
        ("sale_id" = Option<schema::SaleId>, Query, description = "Of this sale only."),
        ("page" = Option<schema::PageNumber>, Query, description = "Which page; not with `cursor`."),
        ("cursor" = Option<schema::Cursor>, Query, description = "Where the list goes on."),
        ("limit" = Option<schema::Limit>, Query, description = "Most entries of one answer."),
    ),
    responses((status = 200, description = "Part of the list.", body = ListBody<Purchase>), OfSale),
)]
pub(crate) async fn purchases(
    State(api): State<Api>,
    OriginalUri(uri): OriginalUri,
    buyer_id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut params = Params::parse(query.as_deref());
    let sale = params.sale_id();
    let buyer = match buyer_id {
        Ok(Path(buyer_id)) if escapes_are_whole(uri.path()) => {
            params.path("buyer_id", BuyerId::parse(&buyer_id))
        }
        Ok(_) | Err(_) => params.path("buyer_id", Err("is not valid percent-encoded UTF-8")),
    };
    let filter = sale.as_ref().and_then(|sale| sale.as_ref().ok());
    let filters = filter.map_or_else(String::new, |sale| format!("sale_id={sale}&"));
    let listing = Listing { signer: &*api.cursors, path: uri.path(), filters };
    let part = listing.part(&mut params, |place| {
        let (micros, attempt) = pair(place)?;
        let purchased_at = DateTime::<Utc>::from_timestamp_micros(micros)?;
        Some(PurchaseKey { purchased_at, attempt: AttemptId::new(attempt)? })
    });
    params.finish()?;
    let Some(buyer) = buyer else {
        return Err(ApiError::invalid("buyer_id", "is required").into());
    };
    let sale = sale.transpose()?;
    Ok(match part {
        Part::Page(page) => {
            let history = api.read(api.browse.history(&buyer, sale, page)).await?;
            let data: Vec<Purchase> = history.entries.into_iter().map(Purchase::from).collect();
            Json(PageBody::new(data, history.total, page)).into_response()
        }
        Part::After(after) => {
            let history = api.read(api.browse.history_after(&buyer, sale, after)).await?;
            let place = |next: &PurchaseKey| {
                format!("{}.{}", next.purchased_at.timestamp_micros(), next.attempt.get())
            };
            listing.answer::<_, _, Purchase>(history, after.limit, place)
        }
    })
}
