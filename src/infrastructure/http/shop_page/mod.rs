//! `/` if `shop_page.enabled`: a page on which people buy. It is a client of version 2 like any other; its script, style and texts are
//! in `files/`.

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::docs;
use super::error::ApiError;
use super::middleware::protection::protect_shop;
use super::model::etag::with_etag;
use super::model::paths::{SHOP_FILES, START};

const CSS: HeaderValue = HeaderValue::from_static("text/css; charset=utf-8");
const SCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=utf-8");

/// The start page: the shop, or links for developers.
pub(crate) fn start_page(is_shop: bool) -> Router {
    if !is_shop {
        return docs::links_at(START);
    }
    let files = Router::new().route(SHOP_FILES, get(file));
    Router::new()
        .route(START, get(page).fallback(docs::not_found))
        .merge(files.layer(map_response(protect_shop)))
}

/// `GET /`
async fn page(request: Request) -> Response {
    match docs::for_browsers(request, include_str!("files/page.html")).await {
        Ok(page) => protect_shop(page).await,
        Err(error) => error,
    }
}

/// `GET /shop/{file}`
async fn file(
    headers: HeaderMap,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let name = name.map_err(|_| ApiError::RouteNotFound)?;
    let (media_type, text) = find(&name).ok_or(ApiError::RouteNotFound)?;
    let response = ([(header::CONTENT_TYPE, media_type)], text).into_response();
    Ok(with_etag(&headers, response).await)
}

/// The media type and the content of a file.
fn find(name: &str) -> Option<(HeaderValue, &'static str)> {
    let script = |text| Some((SCRIPT, text));
    match name {
        "shop.css" => Some((CSS, include_str!("files/shop.css"))),
        "shop.js" => script(include_str!("files/shop.js")),
        "buying.js" => script(include_str!("files/buying.js")),
        "clock.js" => script(include_str!("files/clock.js")),
        "dom.js" => script(include_str!("files/dom.js")),
        "items.js" => script(include_str!("files/items.js")),
        "live.js" => script(include_str!("files/live.js")),
        "service.js" => script(include_str!("files/service.js")),
        _ => None,
    }
}
