//! `/docs/`: the API reference, in which requests can be tried out. It is Swagger UI with the parts in `pages/ui.js`.

use std::sync::LazyLock;

use axum::Router;
use axum::http::HeaderMap;
use axum::response::{Redirect, Response};
use axum::routing::get;

use super::html::{self, Page};
use crate::infrastructure::http::model::paths::{UI, UI_PAGE};

const HEAD: &str = include_str!("pages/ui-head.html");

pub(crate) fn router() -> Router {
    // Relative, for a gateway that serves the service below a path.
    Router::new().route(UI, get(async || Redirect::to("docs/"))).route(UI_PAGE, get(page))
}

/// `GET /docs/`
async fn page(headers: HeaderMap) -> Response {
    static PAGE: LazyLock<String> = LazyLock::new(|| {
        let page =
            Page { title: "API reference · flash-sale", root: "../", link: "docs/", head: HEAD };
        page.with(include_str!("pages/ui.html"))
    });
    html::respond(&headers, PAGE.as_str()).await
}
