//! `/`: the start page, which leads browsers to the documentation. Clients of the API get 404, as for every path without a route.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::routing::get;

use super::html::{self, Page};
use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::middleware::protection::protect_page;
use crate::infrastructure::http::model::paths::START;
use crate::infrastructure::http::request::accept::prefers_html;
use crate::infrastructure::http::request::version::RequestedVersion;

pub(crate) fn router() -> Router {
    Router::new().route(START, get(page).fallback(not_found))
}

/// `GET /`
async fn page(request: Request) -> Response {
    static PAGE: LazyLock<String> = LazyLock::new(|| {
        let page = Page { title: "flash-sale", root: "./", ..Page::default() };
        page.with(include_str!("pages/start.html"))
    });
    if prefers_html(request.headers()) {
        let mut response = html::respond(request.headers(), PAGE.as_str()).await;
        response.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
        protect_page(response).await
    } else {
        not_found(request).await
    }
}

async fn not_found(request: Request) -> Response {
    ApiError::RouteNotFound.in_version(RequestedVersion::of(&request).version)
}
