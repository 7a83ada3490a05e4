//! The OpenAPI document of the port for operators.

use std::sync::LazyLock;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;

use super::routes;
use crate::infrastructure::http::docs::complete::complete;
use crate::infrastructure::http::error::problem_body::ProblemBody;
use crate::infrastructure::http::model::schema;

/// The name of the scheme by which requests are authorized.
const SCHEME: &str = "api_key";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "flash-sale: operators",
        description = "What operators do in a shop. Every request needs an API key in the header `X-Api-Key`: reads one with the scope \
                       `read`, changes one with `operate`. `flash-sale key create` prints a first one. A POST with an `Idempotency-Key` \
                       changes something once, however often it is repeated.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    servers((url = "/", description = "The port that serves this document.")),
    tags(
        (name = "sales", description = "Sales, their items and their reports."),
        (name = "buyers", description = "Purchases, buyers, and why they were refused."),
        (name = "audit", description = "Who has changed what."),
        (name = "jobs", description = "Work outside of requests."),
        (name = "schedules", description = "When jobs are enqueued."),
        (name = "webhooks", description = "Endpoints of other systems that receive events."),
        (name = "keys", description = "API keys of operators and services."),
    ),
    // Schemas that only parameters refer to: utoipa does not find them.
    components(schemas(
        ProblemBody,
        schema::IdempotencyKey,
        schema::Limit,
    )),
)]
struct Document;

/// Generates the document from the code, without examples.
pub(crate) fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = OpenApiRouter::with_openapi(Document::openapi())
        .nest("/admin", routes::router())
        .nest("/admin", routes::streams())
        .into_openapi();
    let scheme = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-Api-Key")));
    if let Some(components) = &mut document.components {
        components.add_security_scheme(SCHEME, scheme);
    }
    document.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>(SCHEME, [])]);
    document
}

/// Generates the document as JSON.
pub(crate) fn document() -> String {
    let mut document = serde_json::to_value(openapi()).unwrap_or_default();
    complete(&mut document);
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

/// `GET /admin/openapi.json`
pub(crate) async fn json() -> Response {
    // The document does not change while the service runs.
    static JSON: LazyLock<String> = LazyLock::new(document);
    let media_type = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, media_type)], JSON.as_str()).into_response()
}
