//! `GET /v2/sales/…`: which sales there are, and what they sell.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use serde::Serialize;

use super::super::json::rfc3339;
use super::super::paging::{PageBody, page_request};
use super::super::params::Params;
use super::super::sales::named;
use super::{Api, ApiError, Problem};
use crate::application::browse::SaleView;
use crate::application::ports::StockedItem;

#[derive(Serialize)]
pub(in super::super) struct Sale {
    id: String,
    name: String,
    state: &'static str,
    starts_at: String,
    ends_at: String,
    server_time: String,
    buyer_limit: i32,
    items: i32,
    pieces: Pieces,
}

#[derive(Serialize)]
struct Pieces {
    sold: i64,
    remaining: i64,
}

#[derive(Serialize)]
pub(in super::super) struct Item {
    id: String,
    name: String,
    image_url: String,
    pieces: ItemPieces,
}

#[derive(Serialize)]
struct ItemPieces {
    stock: i32,
    remaining: i32,
}

#[derive(Serialize)]
pub(in super::super) struct List<T> {
    data: Vec<T>,
}

impl From<SaleView> for Sale {
    fn from(view: SaleView) -> Self {
        let SaleView { sale, state, server_time, progress } = view;
        Self {
            id: sale.id.to_string(),
            name: sale.name,
            state: state.as_str(),
            starts_at: rfc3339(sale.window.starts_at()),
            ends_at: rfc3339(sale.window.ends_at()),
            server_time: rfc3339(server_time),
            buyer_limit: sale.buyer_limit,
            items: sale.items,
            pieces: Pieces { sold: progress.sold, remaining: progress.remaining },
        }
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

pub(super) async fn active(State(api): State<Api>) -> Result<Json<List<Sale>>, Problem> {
    let sales = api.read(api.browse.active()).await?;
    Ok(Json(List { data: sales.into_iter().map(Sale::from).collect() }))
}

pub(super) async fn one(
    State(api): State<Api>,
    sale_id: Result<Path<String>, PathRejection>,
) -> Result<Json<Sale>, Problem> {
    let sale = api.read(api.browse.sale(named(sale_id)?)).await?;
    Ok(Json(sale.ok_or(ApiError::SaleNotFound)?.into()))
}

pub(super) async fn items(
    State(api): State<Api>,
    sale_id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Json<PageBody<Item>>, Problem> {
    let mut params = Params::parse(query.as_deref());
    let page = page_request(&mut params);
    let available = params.flag("available");
    params.finish()?;
    let read = api.browse.items(named(sale_id)?, available.unwrap_or(false), page);
    let items = api.read(read).await?.ok_or(ApiError::SaleNotFound)?;
    let data = items.entries.into_iter().map(Item::from).collect();
    Ok(Json(PageBody::new(data, items.total, page)))
}
