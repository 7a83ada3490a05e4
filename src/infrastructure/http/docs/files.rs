//! `/docs/…`: the styles and scripts of pages. They are in the binary.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use utoipa_swagger_ui::Config;

use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::model::etag::with_etag;
use crate::infrastructure::http::model::paths::FILES;

const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

pub(crate) fn router() -> Router {
    Router::new().route(FILES, get(file))
}

/// `GET /docs/{*rest}`
async fn file(
    headers: HeaderMap,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let name = name.map_err(|_| ApiError::RouteNotFound)?;
    let (media_type, content) = find(&name).ok_or(ApiError::RouteNotFound)?;
    let response = ([(header::CONTENT_TYPE, media_type)], content).into_response();
    Ok(with_etag(&headers, response).await)
}

/// The media type and the content of a file.
fn find(name: &str) -> Option<(&'static str, Cow<'static, [u8]>)> {
    let (media_type, text) = match name {
        "icon.svg" => (SVG, include_str!("pages/icon.svg")),
        "page.css" => (CSS, include_str!("pages/page.css")),
        "ui.css" => (CSS, include_str!("pages/ui.css")),
        "ui.js" => (SCRIPT, include_str!("pages/ui.js")),
        "swagger-ui.css" => return Some((CSS, of_swagger_ui(name)?)),
        "swagger-ui-bundle.js" => return Some((SCRIPT, of_swagger_ui(name)?)),
        _ => return None,
    };
    Some((media_type, Cow::Borrowed(text.as_bytes())))
}

/// A file of Swagger UI.
fn of_swagger_ui(name: &str) -> Option<Cow<'static, [u8]>> {
    // Only `swagger-initializer.js` depends on the configuration, and `ui.js` takes its place.
    let file = utoipa_swagger_ui::serve(name, Arc::new(Config::default())).ok()??;
    Some(file.bytes)
}
