//! `GET /v2/sales/{sale_id}/items`: a sale's items.

use axum::extract::rejection::PathRejection;
use axum::extract::{OriginalUri, Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::pagination::{ListBody, PageOrCursor, Paginator};
use crate::application::ports::{LoadPage, StockedItem};
use crate::domain::ids::ItemNo;
use crate::infrastructure::http::cached::{self, Subject, rendered};
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::model::page::PageBody;
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::answers::NotModified;
use crate::infrastructure::http::openapi::params::{IfNoneMatchHeader, PageOrCursorParams};
use crate::infrastructure::http::openapi::problems::SaleProblems;
use crate::infrastructure::http::request::params::Params;
use crate::infrastructure::http::request::path;
use crate::infrastructure::http::state::HttpState;

#[derive(Serialize, ToSchema)]
struct Item {
    #[schema(value_type = schema::ItemId)]
    id: String,
    #[schema(value_type = schema::ItemName)]
    name: String,
    #[schema(value_type = schema::ImageUrl)]
    image_url: String,
    pieces: ItemPieces,
}

#[derive(Serialize, ToSchema)]
struct ItemPieces {
    /// Number of pieces in the sale.
    #[schema(minimum = 0, maximum = 100_000_000, examples(5))]
    stock: i32,
    /// Number of pieces that are not sold.
    #[schema(minimum = 0, maximum = 100_000_000, examples(3))]
    remaining: i32,
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

/// List the items of a sale
///
/// In the order of their numbers. With a cursor, a request takes the same time at any depth of the list. With `page`, the response
/// contains the length of the list.
#[utoipa::path(
    get,
    path = "/sales/{sale_id}/items",
    operation_id = "items",
    tag = "sales",
    params(
        ("sale_id" = schema::SaleId, Path, description = "The sale."),
        ("available" = Option<bool>, Query, description = "Only items that are not sold out."),
        PageOrCursorParams,
        IfNoneMatchHeader,
    ),
    responses(
        (status = 200, description = "Entries of the list.", body = ListBody<Item>,
         headers(("ETag" = String, description = "Identifies this response, for `If-None-Match`."))),
        NotModified,
        SaleProblems,
    ),
)]
pub(crate) async fn get(
    State(http): State<HttpState>,
    OriginalUri(uri): OriginalUri,
    sale_id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut params = Params::parse(query.as_deref());
    let available = params.flag("available");
    let filters = available.map_or_else(String::new, |flag| format!("available={flag}&"));
    let paginator = Paginator { signer: &*http.cursors, path: uri.path(), filters };
    let request =
        paginator.page_or_cursor(&mut params, |position| position.parse().ok().map(ItemNo));
    params.finish()?;
    let (sale, available) = (path::sale_id(sale_id)?, available.unwrap_or(false));
    let cell = http.of(sale);
    let (browse, list) = (&cell.browse, &paginator);
    let (request, load): (_, LoadPage<'_>) = match request {
        PageOrCursor::Page(page) => (
            paginator.request(Some(format!("page-{}", page.page)), page.limit),
            Box::pin(async move {
                let Some(items) = browse.items(sale, available, page).await? else {
                    return Ok(None);
                };
                let data: Vec<Item> = items.entries.into_iter().map(Item::from).collect();
                rendered(&PageBody::new(data, items.total, page), true, None).map(Some)
            }),
        ),
        PageOrCursor::Cursor(cursor) => (
            paginator.request(cursor.entry.as_ref().map(format_position), cursor.limit),
            Box::pin(async move {
                let Some(items) = browse.items_after(sale, available, cursor).await? else {
                    return Ok(None);
                };
                let page = (cursor.limit, true);
                list.page::<_, _, Item>(items, page, format_position).map(Some)
            }),
        ),
    };
    let page = cached::page(cell.cache.as_deref(), Subject::Items(sale), ("", request), load);
    let Some(page) = http.read(page).await? else {
        return Err(http.no_sale(sale).await.into());
    };
    Ok(cached::response(&headers, &page))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "lists have other keys too")]
fn format_position(next: &ItemNo) -> String {
    next.0.to_string()
}
