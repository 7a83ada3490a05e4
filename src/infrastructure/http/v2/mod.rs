//! Version 2 of the interface: JSON, problem details, one resource a file.

pub(crate) mod buyers;
pub(crate) mod checkout_items;
pub(crate) mod checkout_purchase;
pub(crate) mod checkouts;
mod etag;
mod idempotency;
mod listing;
pub(crate) mod purchases;
pub(crate) mod sales;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};

use super::Api;
use super::error::ApiError;
use super::problem::Details;
use crate::application::ports::PortError;
use crate::domain::ids::ItemId;

pub(crate) use checkouts::Checkout;
pub(crate) use purchases::Purchase;

/// An error, as problem details.
pub(crate) struct Problem {
    error: ApiError,
    details: Details,
}

impl Problem {
    /// About these items.
    fn about(error: ApiError, items: &[ItemId]) -> Self {
        let items = items.iter().map(|item| item.as_str().to_owned()).collect();
        Self { error, details: Details { items, purchase: None } }
    }
}

impl Problem {
    /// About what a purchase came to.
    fn with(error: ApiError, purchase: Purchase) -> Self {
        Self { error, details: Details { items: Vec::new(), purchase: Some(Box::new(purchase)) } }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.error.into_problem(self.details)
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        Self { error, details: Details::default() }
    }
}

impl From<PortError> for Problem {
    fn from(error: PortError) -> Self {
        ApiError::from(error).into()
    }
}

/// Its routes, below `/v2`.
pub(crate) fn router() -> Router<Api> {
    Router::new()
        .route("/sales", get(sales::all))
        .route("/sales/active", get(sales::active))
        .route("/sales/{sale_id}", get(sales::one))
        .route("/sales/{sale_id}/items", get(sales::items))
        .route("/checkouts", post(checkouts::post))
        .route("/checkouts/{code}", get(checkouts::one))
        .route(
            "/checkouts/{code}/items/{item_id}",
            put(checkout_items::put).delete(checkout_items::delete),
        )
        .route("/checkouts/{code}/purchase", post(checkout_purchase::post))
        .route("/purchases/{code}", get(purchases::one))
        .route("/buyers/{buyer_id}/purchases", get(buyers::purchases))
        .fallback(async || Problem::from(ApiError::RouteNotFound))
        .method_not_allowed_fallback(async || Problem::from(ApiError::MethodNotAllowed))
}
