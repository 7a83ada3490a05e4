//! The interface as an OpenAPI document, made of what stands at the handlers and the types that they answer, and the page that
//! shows it to people.
//!
//! - [`schema`]: texts and words. [`answers`]: what writes answer. [`problems`]: which operation answers which errors.

pub(crate) mod answers;
pub(crate) mod problems;
pub(crate) mod schema;

use std::sync::LazyLock;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use utoipa::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{checkout, protection, purchase, purchases, sales, users, v2};

/// Where the document is.
pub(crate) const DOCUMENT: &str = "/openapi.json";
/// Where the page is.
pub(crate) const PAGE: &str = "/docs";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "flash-sale",
        description = include_str!("introduction.md"),
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    servers((url = "/", description = "The service that serves this document.")),
    tags(
        (name = "sales", description = "What is sold, and when."),
        (name = "checkouts", description = "Collecting, changing and buying."),
        (name = "purchases", description = "What was bought."),
        (name = "version 1", description = "Parameters in the query, errors in a form of their own. It stays as it is."),
    ),
    paths(
        v2::sales::all,
        v2::sales::active,
        v2::sales::one,
        v2::sales::items,
        v2::checkouts::post,
        v2::checkouts::one,
        v2::checkout_items::put,
        v2::checkout_items::delete,
        v2::checkout_purchase::post,
        v2::purchases::one,
        v2::buyers::purchases,
        checkout::post,
        purchase::post,
        sales::active,
        sales::one,
        sales::items,
        purchases::one,
        users::purchases,
    ),
    // Those that nothing else refers to but parameters.
    components(schemas(
        super::problem::Problem,
        super::error::Body,
        v2::Checkout,
        v2::Purchase,
        schema::IdempotencyKey,
        schema::PageNumber,
        schema::Limit,
    )),
)]
struct Document;

/// The document as JSON.
pub(crate) fn document() -> String {
    Document::openapi().to_pretty_json().unwrap_or_default()
}

/// Serves the document and the page, which needs nothing from elsewhere.
pub(crate) fn router() -> Router {
    // The validator would be somebody else's service.
    let config = Config::new([DOCUMENT]).validator_url("none").try_it_out_enabled(true);
    let pages = Router::from(SwaggerUi::new(PAGE).config(config));
    let pages = pages.layer(map_response(protection::page));
    Router::new().route(DOCUMENT, get(json)).merge(pages)
}

async fn json() -> Response {
    // It is the same for as long as the service runs.
    static JSON: LazyLock<String> = LazyLock::new(document);
    let media_type = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, media_type)], JSON.as_str()).into_response()
}
