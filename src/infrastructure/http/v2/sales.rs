//! `GET /v2/sales`: all sales.

use axum::extract::{OriginalUri, RawQuery, State};
use axum::http::HeaderMap;
use axum::http::uri::PathAndQuery;
use axum::response::Response;
use chrono::{DateTime, Datelike};

use super::pagination::{CursorPageBody, Paginator, format_time_and_id, parse_time_and_id};
use super::sale_body::ListedSale;
use crate::application::ports::{SaleFilter, SaleKey};
use crate::domain::ids::SaleId;
use crate::domain::sale::SaleState;
use crate::infrastructure::http::cached::{self, Subject};
use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::model::time::rfc3339;
use crate::infrastructure::http::openapi::answers::NotModified;
use crate::infrastructure::http::openapi::params::{CursorParams, IfNoneMatchHeader};
use crate::infrastructure::http::openapi::problems::ReadProblems;
use crate::infrastructure::http::request::params::Params;
use crate::infrastructure::http::state::HttpState;

/// List all sales
///
/// The sale with the latest start is the first.
#[utoipa::path(
    get,
    path = "/sales",
    operation_id = "sales",
    tag = "sales",
    params(
        ("state" = Option<schema::SaleState>, Query, description = "Only sales in this state."),
        ("since" = Option<schema::Time>, Query, description = "Only sales that start at this time or later (RFC 3339)."),
        CursorParams,
        IfNoneMatchHeader,
    ),
    responses(
        (status = 200, description = "Entries of the list, and a cursor.", body = CursorPageBody<ListedSale>,
         headers(("ETag" = String, description = "Identifies this response, for `If-None-Match`."))),
        NotModified,
        ReadProblems,
    ),
)]
pub(crate) async fn get(
    State(http): State<HttpState>,
    OriginalUri(uri): OriginalUri,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut params = Params::parse(query.as_deref());
    let state = params.optional("state", |text| {
        let states = [SaleState::Upcoming, SaleState::Open, SaleState::Ended];
        states
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or("must be upcoming, open or ended")
    });
    let since = params.optional("since", |text| {
        let time = DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc());
        let time = time.filter(|time| (0..=9_999).contains(&time.year()));
        time.ok_or("must be a time such as 2027-01-31T00:00:00Z")
    });
    let filters = [
        state.map(|state| format!("state={}&", state.as_str())),
        since.map(|since| format!("since={}&", rfc3339(since))),
    ];
    let filters = filters.into_iter().flatten().collect::<Vec<_>>().concat();
    let paginator = Paginator { signer: &*http.cursors, path: uri.path(), filters };
    params.refuse_if_present("page", "is not supported by this list: use cursor");
    let cursor = paginator.cursor(&mut params, |position| {
        let (starts_at, sale) = parse_time_and_id(position)?;
        Some(SaleKey { starts_at, sale: SaleId::new(sale)? })
    });
    params.finish()?;
    let format_position = |next: &SaleKey| format_time_and_id(next.starts_at, next.sale.get());
    let request = paginator.request(cursor.entry.as_ref().map(format_position), cursor.limit);
    let load = async {
        let sales = http.home().browse.sales(SaleFilter { state, since }, cursor).await?;
        let page = (cursor.limit, true);
        paginator.page::<_, _, ListedSale>(sales, page, format_position).map(Some)
    };
    let sent = uri.path_and_query().map_or("", PathAndQuery::as_str);
    let page =
        cached::page(http.home().cache.as_deref(), Subject::Sales, (sent, request), Box::pin(load));
    let page = http.read(page).await?.ok_or(ApiError::RouteNotFound)?;
    Ok(cached::response(&headers, &page))
}
