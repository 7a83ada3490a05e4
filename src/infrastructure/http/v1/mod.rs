//! Version 1: parameters in the query, errors in a format of its own. One file an endpoint. Several endpoints share the bodies in
//! [`outcome`] and [`sale_body`].

mod active_sales;
pub(crate) mod checkout;
mod items;
mod outcome;
pub(crate) mod purchase;
mod purchase_of_code;
mod purchases_of_user;
mod sale;
mod sale_body;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::state::HttpState;

/// The routes of version 1, which are served below `/v1` and without a prefix.
pub(crate) fn router() -> OpenApiRouter<HttpState> {
    OpenApiRouter::default()
        .routes(routes!(checkout::post))
        .routes(routes!(purchase::post))
        .routes(routes!(active_sales::get))
        .routes(routes!(sale::get))
        .routes(routes!(items::get))
        .routes(routes!(purchase_of_code::get))
        .routes(routes!(purchases_of_user::get))
}
