//! `GET /v1/sales/{sale_id}/items`: a sale's items.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::application::ports::StockedItem;
use crate::infrastructure::http::cached::{self, Subject, rendered};
use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::model::page::PageBody;
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::params::PageParams;
use crate::infrastructure::http::openapi::problems::V1SaleProblems;
use crate::infrastructure::http::request::paging::page_request;
use crate::infrastructure::http::request::params::Params;
use crate::infrastructure::http::request::path;
use crate::infrastructure::http::state::HttpState;

#[derive(Serialize, ToSchema)]
pub(crate) struct ItemBody {
    #[schema(value_type = schema::ItemId)]
    id: String,
    #[schema(value_type = schema::ItemName)]
    name: String,
    #[schema(value_type = schema::ImageUrl)]
    image_url: String,
    /// Number of pieces in the sale.
    #[schema(minimum = 0, maximum = 100_000_000, examples(5))]
    stock: i32,
    /// Number of pieces that are not sold.
    #[schema(minimum = 0, maximum = 100_000_000, examples(3))]
    remaining: i32,
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

/// List the items of a sale
///
/// In the order of their numbers.
#[utoipa::path(
    get,
    path = "/sales/{sale_id}/items",
    operation_id = "v1_items",
    tag = "version 1",
    params(
        ("sale_id" = schema::SaleId, Path, description = "The sale."),
        ("available" = Option<bool>, Query, description = "Only items that are not sold out."),
        PageParams,
    ),
    responses((status = 200, description = "One page.", body = PageBody<ItemBody>), V1SaleProblems),
)]
pub(crate) async fn get(
    State(http): State<HttpState>,
    sale_id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let mut params = Params::parse(query.as_deref());
    let page = page_request(&mut params);
    let available = params.flag("available");
    params.finish()?;
    let (sale, available) = (path::sale_id(sale_id)?, available.unwrap_or(false));
    let numbers = format!("page={}&limit={}", page.page, page.limit);
    let request = format!("/sales/{sale}/items?available={available}&{numbers}");
    let cell = http.of(sale);
    let load = async {
        let Some(items) = cell.browse.items(sale, available, page).await? else {
            return Ok(None);
        };
        let data = items.entries.into_iter().map(ItemBody::from).collect();
        rendered(&PageBody::<ItemBody>::new(data, items.total, page), false, None).map(Some)
    };
    let subject = Subject::Items(sale);
    let page = cached::page(cell.cache.as_deref(), subject, ("", request), Box::pin(load));
    let Some(page) = http.read(page).await? else {
        return Err(http.no_sale(sale).await);
    };
    Ok(cached::response(&HeaderMap::new(), &page))
}
