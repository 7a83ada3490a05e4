//! The OpenAPI document, generated from the routes, the annotations of the handlers and the types of their bodies.

use std::borrow::Cow;
use std::sync::LazyLock;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use super::complete::complete;
use super::security::add_credentials;
use crate::infrastructure::http::error::problem_body::ProblemBody;
use crate::infrastructure::http::error::v1::ErrorBody;
use crate::infrastructure::http::model::links::link;
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::model::{checkout, purchase};
use crate::infrastructure::http::{v1, v2};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "flash-sale",
        description = include_str!("introduction.md"),
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    servers((url = "/", description = "The service that serves this document.")),
    tags(
        (name = "sales", description = "Sales and their items."),
        (name = "checkouts", description = "Collecting, changing and buying items."),
        (name = "purchases", description = "Stored outcomes of purchases."),
        (name = "version 1", description = "Parameters in the query, errors in a format of its own. It does not change."),
    ),
    // Schemas that only parameters and hand-written responses refer to: utoipa does not find them.
    components(schemas(
        ProblemBody,
        ErrorBody,
        checkout::Checkout,
        purchase::Purchase,
        schema::IdempotencyKey,
        schema::EntityTags,
        schema::EventId,
        schema::PageNumber,
        schema::Limit,
    )),
)]
struct Document;

/// Generates the document from the code, without examples.
pub(crate) fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = OpenApiRouter::with_openapi(Document::openapi())
        .nest("/v1", v1::router())
        .nest("/v2", v2::router())
        .into_openapi();
    // Nothing needs credentials but the operations that say so.
    document.security = Some(Vec::new());
    document
}

/// Generates the document as JSON.
pub(crate) fn document() -> String {
    let mut document = serde_json::to_value(openapi()).unwrap_or_default();
    complete(&mut document);
    add_credentials(&mut document);
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

/// `GET /openapi.json`
pub(crate) async fn json() -> Response {
    // The document does not change while the service runs.
    static JSON: LazyLock<String> = LazyLock::new(document);
    let media_type = HeaderValue::from_static("application/json");
    let root = link("/");
    let document =
        if root == "/" { Cow::Borrowed(JSON.as_str()) } else { Cow::Owned(below(&root, &JSON)) };
    ([(header::CONTENT_TYPE, media_type)], document).into_response()
}

/// The document of a service whose root clients reach at this URL.
fn below(root: &str, document: &str) -> String {
    let server = format!("\"url\": \"{}\"", root.trim_end_matches('/'));
    document.replace("\"url\": \"/\"", &server).replace("](/", &format!("]({root}"))
}
