//! Version 2: JSON bodies, problem details, idempotency keys and cursors. One file an endpoint. Several endpoints share
//! [`pagination`], [`checkout_tag`], [`sale_body`], [`keyed`], [`requested_lines`] and [`change`].

mod active_sales;
mod change;
mod checkout;
mod checkout_tag;
mod collect;
mod items;
mod keyed;
pub(crate) mod pagination;
mod purchase;
mod purchase_of_code;
mod purchases_of_buyer;
mod put_item;
mod remove_item;
mod requested_lines;
mod sale;
pub(crate) mod sale_body;
mod sale_events;
mod sales;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::state::HttpState;

/// The routes of version 2, which are served below `/v2`.
pub(crate) fn router() -> OpenApiRouter<HttpState> {
    OpenApiRouter::default()
        .routes(routes!(sales::get))
        .routes(routes!(active_sales::get))
        .routes(routes!(sale::get))
        .routes(routes!(items::get))
        .routes(routes!(collect::post))
        .routes(routes!(checkout::get))
        .routes(routes!(put_item::put, remove_item::delete))
        .routes(routes!(purchase::post))
        .routes(routes!(purchase_of_code::get))
        .routes(routes!(purchases_of_buyer::get))
        .routes(routes!(sale_events::get))
}
