//! `GET /sales/…`: which sales there are, and what they sell.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::error::ApiError;
use super::json::rfc3339;
use super::openapi::problems::{V1OfSale, V1Read};
use super::openapi::schema;
use super::paging::{PageBody, page_request};
use super::params::Params;
use crate::application::browse::SaleView;
use crate::application::ports::StockedItem;
use crate::domain::ids::SaleId;

#[derive(Serialize, ToSchema)]
pub(crate) struct SaleBody {
    #[schema(value_type = schema::SaleId)]
    sale_id: String,
    name: String,
    #[schema(value_type = schema::SaleState)]
    state: &'static str,
    #[schema(format = DateTime)]
    starts_at: String,
    /// It is open before this moment.
    #[schema(format = DateTime)]
    ends_at: String,
    /// The clock that decides.
    #[schema(format = DateTime)]
    server_time: String,
    /// Most pieces a buyer may have.
    buyer_limit: i32,
    items: i32,
    /// Pieces that are sold.
    sold: i64,
    /// Pieces that are left.
    remaining: i64,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct SalesBody {
    data: Vec<SaleBody>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ItemBody {
    #[schema(value_type = schema::ItemId)]
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

/// Sales that are open
///
/// The one that the schedule has opened comes first.
#[utoipa::path(
    get,
    path = "/v1/sales/active",
    operation_id = "v1_active_sales",
    tag = "version 1",
    responses((status = 200, description = "All of them.", body = SalesBody), V1Read),
)]
pub(crate) async fn active(State(api): State<Api>) -> Result<Json<SalesBody>, ApiError> {
    let sales = api.read(api.browse.active()).await?;
    Ok(Json(SalesBody { data: sales.into_iter().map(SaleBody::from).collect() }))
}

/// One sale
#[utoipa::path(
    get,
    path = "/v1/sales/{sale_id}",
    operation_id = "v1_sale",
    tag = "version 1",
    params(("sale_id" = schema::SaleId, Path, description = "The sale.")),
    responses((status = 200, description = "The sale as it is now.", body = SaleBody), V1OfSale),
)]
pub(crate) async fn one(
    State(api): State<Api>,
    sale_id: Result<Path<String>, PathRejection>,
) -> Result<Json<SaleBody>, ApiError> {
    let sale = api.read(api.browse.sale(named(sale_id)?)).await?;
    Ok(Json(sale.ok_or(ApiError::SaleNotFound)?.into()))
}

/// Items of a sale, by number
#[utoipa::path(
    get,
    path = "/v1/sales/{sale_id}/items",
    operation_id = "v1_items",
    tag = "version 1",
    params(
        ("sale_id" = schema::SaleId, Path, description = "The sale."),
        ("available" = Option<bool>, Query, description = "Only items that are not sold out."),
        ("page" = Option<schema::PageNumber>, Query, description = "Which page; a page past the end is empty."),
        ("limit" = Option<schema::Limit>, Query, description = "Most entries of a page."),
    ),
    responses((status = 200, description = "One page.", body = PageBody<ItemBody>), V1OfSale),
)]
pub(crate) async fn items(
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
pub(crate) fn named(sale_id: Result<Path<String>, PathRejection>) -> Result<SaleId, ApiError> {
    let text = sale_id.map_err(|_| ApiError::SaleNotFound)?;
    SaleId::parse(&text).ok_or(ApiError::SaleNotFound)
}
