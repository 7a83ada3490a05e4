//! `GET /v1/users/{user_id}/purchases`: a buyer's purchases.

use axum::extract::rejection::PathRejection;
use axum::extract::{OriginalUri, Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;

use super::purchase_of_code::PastPurchaseBody;
use crate::infrastructure::http::access::caller::Caller;
use crate::infrastructure::http::cached::{self, Subject, rendered};
use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::model::page::PageBody;
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::params::PageParams;
use crate::infrastructure::http::openapi::problems::V1BuyerProblems;
use crate::infrastructure::http::request::paging::page_request;
use crate::infrastructure::http::request::params::Params;
use crate::infrastructure::http::request::path;
use crate::infrastructure::http::state::HttpState;

/// List a buyer's purchases
///
/// The latest purchase is the first.
#[utoipa::path(
    get,
    path = "/users/{user_id}/purchases",
    operation_id = "v1_purchases_of_user",
    tag = "version 1",
    params(
        ("user_id" = schema::BuyerId, Path, description = "The buyer."),
        ("sale_id" = Option<schema::SaleId>, Query, description = "Only purchases in this sale."),
        PageParams,
    ),
    responses((status = 200, description = "One page.", body = PageBody<PastPurchaseBody>), V1BuyerProblems),
)]
pub(crate) async fn get(
    State(http): State<HttpState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    user_id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let mut params = Params::parse(query.as_deref());
    let page = page_request(&mut params);
    let sale = params.sale_id();
    let buyer = path::buyer_id(&mut params, "user_id", &uri, user_id);
    params.finish()?;
    let Some(buyer) = buyer else {
        return Err(ApiError::invalid("user_id", "is required"));
    };
    caller.check_owner(&buyer)?;
    let sale = sale.transpose()?;
    let filter = sale.map_or_else(String::new, |sale| format!("sale_id={sale}&"));
    let request = format!("{}?{filter}page={}&limit={}", uri.path(), page.page, page.limit);
    let cell = http.of(sale);
    // A cached page may be from before the sale was archived. For a sale that has not ended, this needs no I/O.
    if http.read(cell.browse.was_archived(sale)).await? {
        return Err(ApiError::SaleArchived);
    }
    let load = async {
        let history = cell.browse.history(&buyer, sale, page).await?;
        if history.total == 0 && cell.browse.was_archived(sale).await? {
            return Ok(None);
        }
        let data = history.entries.into_iter().map(PastPurchaseBody::from).collect();
        rendered(&PageBody::<PastPurchaseBody>::new(data, history.total, page), false, None)
            .map(Some)
    };
    let subject = Subject::Purchases(buyer.clone());
    let page = cached::page(cell.cache.as_deref(), subject, ("", request), Box::pin(load));
    let page = http.read(page).await?.ok_or(ApiError::SaleArchived)?;
    Ok(cached::response(&HeaderMap::new(), &page))
}
