//! `GET /v2/buyers/{buyer_id}/purchases`: what a buyer bought.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};

use super::super::paging::{PageBody, page_request};
use super::super::params::Params;
use super::purchases::Purchase;
use super::{Api, ApiError, Problem};
use crate::domain::ids::BuyerId;

pub(super) async fn purchases(
    State(api): State<Api>,
    buyer_id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Json<PageBody<Purchase>>, Problem> {
    let mut params = Params::parse(query.as_deref());
    let page = page_request(&mut params);
    let sale = params.sale_id();
    let buyer = match buyer_id {
        Ok(Path(buyer_id)) => params.path("buyer_id", BuyerId::parse(&buyer_id)),
        Err(_) => params.path("buyer_id", Err("is not valid percent-encoded UTF-8")),
    };
    params.finish()?;
    let Some(buyer) = buyer else {
        return Err(ApiError::invalid("buyer_id", "is required").into());
    };
    let sale = sale.transpose()?;
    let history = api.read(api.browse.history(&buyer, sale, page)).await?;
    let data = history.entries.into_iter().map(Purchase::from).collect();
    Ok(Json(PageBody::new(data, history.total, page)))
}
