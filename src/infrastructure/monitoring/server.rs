//! The endpoints for Prometheus and for probes.

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use serde_json::json;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;

use super::health::{Detail, HealthReport, Overall};
use super::openmetrics;
use crate::infrastructure::traces::Exemplars;

/// Updates gauges before a scrape.
type BeforeScrape = std::sync::Arc<dyn Fn() + Send + Sync>;

/// What the endpoints read.
#[derive(Clone)]
pub(crate) struct Monitoring {
    /// All metrics.
    pub(crate) registry: Registry,
    /// All checks.
    pub(crate) health: HealthReport,
    /// Traced observations, if there are traces: then metrics are also written as OpenMetrics.
    pub(crate) exemplars: Option<Exemplars>,
    /// Called before every scrape.
    pub(crate) before_scrape: BeforeScrape,
}

impl Monitoring {
    /// `/metrics`, `/livez`, `/readyz`, `/healthz`.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/healthz", get(healthz))
            .fallback(not_found)
            .method_not_allowed_fallback(method_not_allowed)
            // It makes the metrics ten times shorter, at the price of compressing them once per scrape.
            .layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
            .with_state(self)
    }
}

/// All metrics in the text format of Prometheus, or as OpenMetrics for a scraper that accepts it.
pub(crate) fn exposition(monitoring: &Monitoring, headers: &HeaderMap) -> Response {
    (monitoring.before_scrape)();
    let families = monitoring.registry.gather();
    let exemplars = monitoring.exemplars.as_ref().filter(|_| accepts_openmetrics(headers));
    let (content_type, text) = match exemplars {
        Some(exemplars) => (openmetrics::CONTENT_TYPE, openmetrics::encode(&families, exemplars)),
        None => (TEXT_FORMAT, TextEncoder::new().encode_to_string(&families)),
    };
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, content_type)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot write the metrics");
            error_body(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the metrics cannot be written",
                "internal",
            )
        }
    }
}

fn accepts_openmetrics(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter().filter_map(|it| it.to_str().ok());
    accepted.any(|types| types.contains(openmetrics::MEDIA_TYPE))
}

async fn metrics(State(monitoring): State<Monitoring>, headers: HeaderMap) -> Response {
    exposition(&monitoring, &headers)
}

async fn livez() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

async fn readyz(State(monitoring): State<Monitoring>) -> Response {
    let (overall, body) = monitoring.health.run(Detail::Reasons).await;
    let status = match overall {
        Overall::Ok | Overall::Degraded => StatusCode::OK,
        Overall::Failing | Overall::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(body)).into_response()
}

async fn healthz(State(monitoring): State<Monitoring>) -> Response {
    health(monitoring, Detail::Reasons).await
}

/// All checks for the port of front ends, which does not show internals.
pub(crate) async fn health_endpoint(monitoring: Monitoring) -> Response {
    health(monitoring, Detail::States).await
}

/// All checks. A draining service is healthy: it still answers requests.
async fn health(monitoring: Monitoring, detail: Detail) -> Response {
    let (overall, body) = monitoring.health.run(detail).await;
    let status = match overall {
        Overall::Ok | Overall::Degraded | Overall::Draining => StatusCode::OK,
        Overall::Failing => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(body)).into_response()
}

async fn not_found() -> Response {
    error_body(StatusCode::NOT_FOUND, "there is nothing here", "route_not_found")
}

async fn method_not_allowed() -> Response {
    error_body(StatusCode::METHOD_NOT_ALLOWED, "this takes GET only", "method_not_allowed")
}

fn error_body(status: StatusCode, message: &str, code: &str) -> Response {
    (status, Json(json!({ "message": message, "code": code }))).into_response()
}
