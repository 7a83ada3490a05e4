//! `GET /sales/…`: which sales there are, and what they sell.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use serde::Serialize;

use super::Api;
use super::error::ApiError;
use super::json::rfc3339;
use super::paging::{PageBody, page_request};
use super::params::Params;
use crate::application::browse::SaleView;
use crate::application::ports::StockedItem;
use crate::domain::ids::SaleId;

#[derive(Serialize)]
pub(super) struct SaleBody {
    sale_id: String,
    name: String,
    state: &'static str,
    starts_at: String,
    ends_at: String,
    server_time: String,
    buyer_limit: i32,
    items: i32,
    sold: i64,
    remaining: i64,
}

#[derive(Serialize)]
pub(super) struct SalesBody {
    data: Vec<SaleBody>,
}

#[derive(Serialize)]
pub(super) struct ItemBody {
    id: String,
    name: String,
    image_url: String,
    stock: i32,
    remaining: i32,
}

impl From<SaleView> for SaleBody {
    fn from(view: SaleView) -> Self {
        let SaleView { sale, state, server_time, progress } = view;
        Self {
            sale_id: sale.id.to_string(),
            name: sale.name,
            state: state.as_str(),
            starts_at: rfc3339(sale.window.starts_at()),
            ends_at: rfc3339(sale.window.ends_at()),
            server_time: rfc3339(server_time),
            buyer_limit: sale.buyer_limit,
            items: sale.items,
            sold: progress.sold,
            remaining: progress.remaining,
        }
    }
}

impl From<StockedItem> for ItemBody {
    fn from(stocked: StockedItem) -> Self {
        Self {
            id: stocked.item.id.as_str().to_owned(),
            name: stocked.item.name,
            image_url: stocked.item.image_url,
            stock: stocked.stock,
            remaining: stocked.remaining,
        }
    }
}

pub(super) async fn active(State(api): State<Api>) -> Result<Json<SalesBody>, ApiError> {
    let sales = api.read(api.browse.active()).await?;
    Ok(Json(SalesBody { data: sales.into_iter().map(SaleBody::from).collect() }))
}

pub(super) async fn one(
    State(api): State<Api>,
    sale_id: Result<Path<String>, PathRejection>,
) -> Result<Json<SaleBody>, ApiError> {
    let sale = api.read(api.browse.sale(named(sale_id)?)).await?;
    Ok(Json(sale.ok_or(ApiError::SaleNotFound)?.into()))
}

pub(super) async fn items(
    State(api): State<Api>,
    sale_id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Json<PageBody<ItemBody>>, ApiError> {
    let mut params = Params::parse(query.as_deref());
    let page = page_request(&mut params);
    let available = params.flag("available");
    params.finish()?;
    let read = api.browse.items(named(sale_id)?, available.unwrap_or(false), page);
    let items = api.read(read).await?.ok_or(ApiError::SaleNotFound)?;
    let data = items.entries.into_iter().map(ItemBody::from).collect();
    Ok(Json(PageBody::new(data, items.total, page)))
}

/// A text that cannot be a sale's number is a sale that does not exist.
pub(super) fn named(sale_id: Result<Path<String>, PathRejection>) -> Result<SaleId, ApiError> {
    let text = sale_id.map_err(|_| ApiError::SaleNotFound)?;
    SaleId::parse(&text).ok_or(ApiError::SaleNotFound)
}
