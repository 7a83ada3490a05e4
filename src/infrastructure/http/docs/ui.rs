//! `/docs`: Swagger UI for the OpenAPI document. Its files are in the binary.

use axum::Router;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::infrastructure::http::model::paths;

pub(crate) fn router() -> Router {
    // The validator would send the document's address to another server.
    let config = Config::new([paths::OPENAPI]).validator_url("none").try_it_out_enabled(true);
    Router::from(SwaggerUi::new(paths::UI).config(config))
}
