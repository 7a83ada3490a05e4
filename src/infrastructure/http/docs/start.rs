//! The page of links, which leads browsers to the documentation: `/start`, and `/` unless that is the shop. Clients of the API get 404
//! at `/`, as for every path without a route.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::routing::get;

use super::html::{self, Page};
use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::middleware::protection::protect_page;
use crate::infrastructure::http::request::accept::prefers_html;
use crate::infrastructure::http::request::version::RequestedVersion;

/// The page at this path.
pub(crate) fn links_at(path: &str) -> Router {
    Router::new().route(path, get(page).fallback(not_found))
}

async fn page(request: Request) -> Response {
    static PAGE: LazyLock<String> = LazyLock::new(|| {
        let page = Page { title: "flash-sale", root: "./", ..Page::default() };
        page.with(include_str!("pages/start.html"))
    });
    match for_browsers(request, PAGE.as_str()).await {
        Ok(page) => protect_page(page).await,
        Err(error) => error,
    }
}

/// A page, still without protection; the error for clients that are no browsers.
pub(crate) async fn for_browsers(
    request: Request,
    page: &'static str,
) -> Result<Response, Response> {
    if !prefers_html(request.headers()) {
        return Err(not_found(request).await);
    }
    let mut response = html::respond(request.headers(), page).await;
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

pub(crate) async fn not_found(request: Request) -> Response {
    ApiError::RouteNotFound.in_version(RequestedVersion::of(&request).version)
}
