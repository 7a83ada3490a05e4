//! `GET /v2/buyers/{buyer_id}/purchases`: a buyer's purchases.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{OriginalUri, Path, RawQuery, State};
use axum::response::{IntoResponse, Response};

use super::pagination::{ListBody, PageOrCursor, Paginator, format_time_and_id, parse_time_and_id};
use crate::application::ports::PurchaseKey;
use crate::domain::ids::AttemptId;
use crate::infrastructure::http::access::caller::Caller;
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
    Ok(match request {
        PageOrCursor::Page(page) => {
            let history = http.read(http.browse.history(&buyer, sale, page)).await?;
            if history.total == 0
                && let Some(sale) = sale
            {
                http.check_kept(sale).await?;
            }
            let data: Vec<Purchase> = history.entries.into_iter().map(Purchase::from).collect();
            Json(PageBody::new(data, history.total, page)).into_response()
        }
        PageOrCursor::Cursor(cursor) => {
            let history = http.read(http.browse.history_after(&buyer, sale, cursor)).await?;
            if history.entries.is_empty()
                && let Some(sale) = sale
            {
                http.check_kept(sale).await?;
            }
            let format_position =
                |next: &PurchaseKey| format_time_and_id(next.purchased_at, next.attempt.get());
            paginator.response::<_, _, Purchase>(history, cursor.limit, format_position)
        }
    })
}
