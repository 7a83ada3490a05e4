//! The body of a sale in version 2.

use axum::http::HeaderValue;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::application::browse::{self, SaleView};
use crate::infrastructure::http::model::headers::SERVER_TIME;
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::model::time::rfc3339;

#[derive(Serialize, ToSchema)]
pub(crate) struct Sale {
    #[serde(flatten)]
    listed: ListedSale,
    pieces: Pieces,
}

/// A sale without its stock.
#[derive(Serialize, ToSchema)]
pub(crate) struct ListedSale {
    #[schema(value_type = schema::SaleId)]
    id: String,
    #[schema(examples("Flash sale of 2027-01-31 15:00:00 UTC"))]
    name: String,
    #[schema(value_type = schema::SaleState)]
    state: &'static str,
    #[schema(value_type = schema::Time)]
    starts_at: String,
    /// The sale is open before this time.
    #[schema(format = DateTime, examples("2027-01-31T16:00:00Z"))]
    ends_at: String,
    /// Maximum number of pieces that one buyer can buy.
    #[schema(minimum = 1, maximum = 1_000, examples(10))]
    buyer_limit: i32,
    /// Number of items.
    #[schema(minimum = 1, maximum = 1_000_000, examples(10_000))]
    items: i32,
}

#[derive(Serialize, ToSchema)]
struct Pieces {
    /// Number of pieces that are sold.
    #[schema(minimum = 0, examples(17))]
    sold: i64,
    /// Number of pieces that are not sold.
    #[schema(minimum = 0, examples(9_983))]
    remaining: i64,
}

impl From<browse::ListedSale> for ListedSale {
    fn from(listed: browse::ListedSale) -> Self {
        let browse::ListedSale { sale, state } = listed;
        Self {
            id: sale.id.to_string(),
            name: sale.name,
            state: state.as_str(),
            starts_at: rfc3339(sale.window.starts_at()),
            ends_at: rfc3339(sale.window.ends_at()),
            buyer_limit: sale.buyer_limit,
            items: sale.items,
        }
    }
}

impl From<SaleView> for Sale {
    fn from(view: SaleView) -> Self {
        let SaleView { sale, state, progress, .. } = view;
        let pieces = Pieces { sold: progress.sold, remaining: progress.remaining };
        Self { listed: browse::ListedSale { sale, state }.into(), pieces }
    }
}

/// Adds the time of the database, at which the response was true.
pub(crate) fn with_server_time(mut response: Response, now: DateTime<Utc>) -> Response {
    if let Ok(now) = HeaderValue::try_from(rfc3339(now)) {
        response.headers_mut().insert(SERVER_TIME, now);
    }
    response
}
