//! `GET /users/{user_id}/purchases`: what a buyer bought.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{OriginalUri, Path, RawQuery, State};

use super::Api;
use super::error::ApiError;
use super::openapi::problems::V1OfSale;
use super::openapi::schema;
use super::paging::{PageBody, page_request};
use super::params::{Params, escapes_are_whole};
use super::purchases::PastPurchaseBody;
use crate::domain::ids::BuyerId;

/// What a buyer bought, newest first
#[utoipa::path(
    get,
    path = "/v1/users/{user_id}/purchases",
    operation_id = "v1_purchases_of_user",
    tag = "version 1",
    params(
        ("user_id" = schema::BuyerId, Path, description = "The buyer."),
        ("sale_id" = Option<schema::SaleId>, Query, description = "Of this sale only."),
        ("page" = Option<schema::PageNumber>, Query, description = "Which page; a page past the end is empty."),
        ("limit" = Option<schema::Limit>, Query, description = "Most entries of a page."),
    ),
    responses((status = 200, description = "One page.", body = PageBody<PastPurchaseBody>), V1OfSale),
)]
pub(crate) async fn purchases(
    State(api): State<Api>,
    OriginalUri(uri): OriginalUri,
    user_id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Json<PageBody<PastPurchaseBody>>, ApiError> {
    let mut params = Params::parse(query.as_deref());
    let page = page_request(&mut params);
    let sale = params.sale_id();
    let buyer = match user_id {
        Ok(Path(user_id)) if escapes_are_whole(uri.path()) => {
            params.path("user_id", BuyerId::parse(&user_id))
        }
        Ok(_) | Err(_) => params.path("user_id", Err("is not valid percent-encoded UTF-8")),
    };
    params.finish()?;
    let Some(buyer) = buyer else {
        return Err(ApiError::invalid("user_id", "is required"));
    };
    let sale = sale.transpose()?;
    let history = api.read(api.browse.history(&buyer, sale, page)).await?;
    let data = history.entries.into_iter().map(PastPurchaseBody::from).collect();
    Ok(Json(PageBody::new(data, history.total, page)))
}
