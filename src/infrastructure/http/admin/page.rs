//! `/admin/`: the operators' page. It has no data: its script reads them with the key that the operator types in.

use axum::Router;
use axum::http::header;
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use crate::infrastructure::http::middleware::protection::protect_page;

/// The paths of the page and its files.
pub(crate) const PATHS: [&str; 3] = ["/admin/", "/admin/page.css", "/admin/page.js"];

/// Every client that reaches the port may read it: it says nothing of the shop.
pub(crate) fn router() -> Router {
    let [page, style, script] = PATHS;
    Router::new()
        .route(page, get(async || Html(include_str!("pages/page.html"))))
        .route(style, get(async || file("text/css; charset=utf-8", include_str!("pages/page.css"))))
        .route(
            script,
            get(async || file("text/javascript; charset=utf-8", include_str!("pages/page.js"))),
        )
        .layer(map_response(protect_page))
}

fn file(media_type: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, media_type)], text).into_response()
}
