//! Version 2 of the interface: JSON, problem details, one resource a file.

mod buyers;
mod etag;
mod listing;
mod purchases;
mod sales;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Api;
use super::error::ApiError;
use super::version::Version;
use crate::application::ports::PortError;

/// An error, as problem details.
pub(super) struct Problem(ApiError);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.0.in_version(Version::Two)
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl From<PortError> for Problem {
    fn from(error: PortError) -> Self {
        Self(error.into())
    }
}

/// Its routes, below `/v2`.
pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/sales", get(sales::all))
        .route("/sales/active", get(sales::active))
        .route("/sales/{sale_id}", get(sales::one))
        .route("/sales/{sale_id}/items", get(sales::items))
        .route("/purchases/{code}", get(purchases::one))
        .route("/buyers/{buyer_id}/purchases", get(buyers::purchases))
        .fallback(async || Problem(ApiError::RouteNotFound))
        .method_not_allowed_fallback(async || Problem(ApiError::MethodNotAllowed))
}
