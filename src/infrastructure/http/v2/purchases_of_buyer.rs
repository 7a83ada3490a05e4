//! `GET /v2/buyers/{buyer_id}/purchases`: a buyer's purchases.

use axum::extract::rejection::PathRejection;
use axum::extract::{OriginalUri, Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;

use super::pagination::{ListBody, PageOrCursor, Paginator, format_time_and_id, parse_time_and_id};
use crate::application::ports::{LoadPage, PurchaseKey};
use crate::domain::ids::AttemptId;
use crate::infrastructure::http::access::caller::Caller;
use crate::infrastructure::http::cached::{self, Subject, rendered};
use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::model::page::PageBody;
use crate::infrastructure::http::model::purchase::Purchase;
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::params::PageOrCursorParams;
use crate::infrastructure::http::openapi::problems::BuyerProblems;
use crate::infrastructure::http::request::params::Params;
use crate::infrastructure::http::request::path;
use crate::infrastructure::http::state::HttpState;

/// List a buyer's purchases
///
/// The latest purchase is the first.
#[utoipa::path(
    get,
    path = "/buyers/{buyer_id}/purchases",
    operation_id = "purchases_of_buyer",
    tag = "purchases",
    params(
        ("buyer_id" = schema::BuyerId, Path, description = "The buyer."),
        ("sale_id" = Option<schema::SaleId>, Query, description = "Only purchases in this sale."),
        PageOrCursorParams,
    ),
    responses((status = 200, description = "Entries of the list.", body = ListBody<Purchase>), BuyerProblems),
)]
pub(crate) async fn get(
    State(http): State<HttpState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    buyer_id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut params = Params::parse(query.as_deref());
    let sale = params.sale_id();
    let buyer = path::buyer_id(&mut params, "buyer_id", &uri, buyer_id);
    let filter = sale.as_ref().and_then(|sale| sale.as_ref().ok());
    let filters = filter.map_or_else(String::new, |sale| format!("sale_id={sale}&"));
    let paginator = Paginator { signer: &*http.cursors, path: uri.path(), filters };
    let request = paginator.page_or_cursor(&mut params, |position| {
        let (purchased_at, attempt) = parse_time_and_id(position)?;
        Some(PurchaseKey { purchased_at, attempt: AttemptId::new(attempt)? })
    });
    params.finish()?;
    let Some(buyer) = buyer else {
        return Err(ApiError::invalid("buyer_id", "is required").into());
    };
    caller.check_owner(&buyer)?;
    let sale = sale.transpose()?;
    let cell = http.of(sale);
    // A cached page may be from before the sale was archived. For a sale that has not ended, this needs no I/O.
    if http.read(cell.browse.was_archived(sale)).await? {
        return Err(ApiError::SaleArchived.into());
    }
    let (browse, list, of) = (&cell.browse, &paginator, &buyer);
    let (request, load): (_, LoadPage<'_>) = match request {
        PageOrCursor::Page(page) => (
            paginator.request(Some(format!("page-{}", page.page)), page.limit),
            Box::pin(async move {
                let history = browse.history(of, sale, page).await?;
                if history.total == 0 && browse.was_archived(sale).await? {
                    return Ok(None);
                }
                let data: Vec<Purchase> = history.entries.into_iter().map(Purchase::from).collect();
                rendered(&PageBody::new(data, history.total, page), false, None).map(Some)
            }),
        ),
        PageOrCursor::Cursor(cursor) => (
            paginator.request(cursor.entry.as_ref().map(format_position), cursor.limit),
            Box::pin(async move {
                let history = browse.history_after(of, sale, cursor).await?;
                if history.entries.is_empty() && browse.was_archived(sale).await? {
                    return Ok(None);
                }
                let page = (cursor.limit, false);
                list.page::<_, _, Purchase>(history, page, format_position).map(Some)
            }),
        ),
    };
    let subject = Subject::Purchases(buyer.clone());
    let page = cached::page(cell.cache.as_deref(), subject, ("", request), load);
    let page = http.read(page).await?.ok_or(ApiError::SaleArchived)?;
    Ok(cached::response(&HeaderMap::new(), &page))
}

fn format_position(next: &PurchaseKey) -> String {
    format_time_and_id(next.purchased_at, next.attempt.get())
}
