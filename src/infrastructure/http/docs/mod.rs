//! Documentation that the service serves: the OpenAPI [`document`], the page to try it out ([`ui`]), a page for each kind of problem
//! ([`problem_pages`]), and the page of links to them ([`start`]). [`security`]: credentials in the document. Texts, styles and
//! scripts of pages are in `pages/`.

pub(crate) mod complete;
pub(crate) mod document;
mod files;
mod html;
mod problem_pages;
mod security;
mod start;
mod ui;

use axum::Router;
use axum::middleware::map_response;
use axum::routing::get;

pub(crate) use start::{for_browsers, links_at, not_found};

use super::middleware::protection;
use super::model::paths;

/// The pages about problems alone, for a port that has no other pages.
pub(crate) fn problems() -> Router {
    let pages = problem_pages::router().merge(files::router());
    pages.layer(map_response(protection::protect_page))
}

/// The document and the pages. They load nothing from other servers.
pub(crate) fn router() -> Router {
    let pages = problem_pages::router().merge(ui::router()).merge(files::router());
    Router::new()
        .route(paths::OPENAPI, get(document::json))
        .merge(pages.layer(map_response(protection::protect_page)))
        .merge(start::links_at(paths::LINKS))
}
