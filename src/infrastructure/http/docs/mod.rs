//! Documentation that the service serves: the OpenAPI document, a page to try it out, and a page for each kind of problem.

pub(crate) mod document;
mod problem_pages;
mod ui;

use axum::Router;
use axum::middleware::map_response;
use axum::routing::get;

use super::middleware::protection;
use super::model::paths;

/// The document and the pages. They load nothing from other servers.
pub(crate) fn router() -> Router {
    let pages = problem_pages::router().merge(ui::router());
    Router::new()
        .route(paths::OPENAPI, get(document::json))
        .merge(pages.layer(map_response(protection::protect_page)))
}
