//! The router of the port for operators.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::http::Request;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use hyper::body::Incoming;
use tower::ServiceExt;

use super::state::AdminState;
use super::{document, gate, page, routes};
use crate::config::Setting;
use crate::infrastructure::http::docs;
use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::middleware::observe::Observer;
use crate::infrastructure::http::middleware::{compression, limits, observe};
use crate::infrastructure::http::model::version::Version;
use crate::infrastructure::http::request::head::RequestLimits;
use crate::infrastructure::http::request::version::{RequestedVersion, VersionSource};

/// Where all routes are.
const ADMIN: &str = "/admin";
const OPENAPI: &str = "/openapi.json";

/// Handles the requests of all connections.
#[derive(Clone)]
pub(crate) struct AdminPort {
    router: Router,
}

impl AdminPort {
    /// Builds the router.
    pub(crate) fn new(
        state: AdminState,
        observer: Observer,
        limits: Setting<RequestLimits>,
    ) -> Self {
        let (json, _) = routes::router().split_for_parts();
        let (streams, _) = routes::streams().split_for_parts();
        let guarded = json
            .route_layer(from_fn_with_state(limits.clone(), limits::bounded_body))
            // An import reads its body by itself.
            .merge(streams)
            .route(OPENAPI, get(document::json))
            .fallback(async || Problem::from(ApiError::RouteNotFound))
            .method_not_allowed_fallback(async || Problem::from(ApiError::MethodNotAllowed));
        let router = Router::new()
            .nest(ADMIN, guarded)
            .fallback(async || Problem::from(ApiError::RouteNotFound))
            .layer(from_fn_with_state(Arc::clone(&state), gate::admit))
            .with_state(state)
            .merge(page::router())
            // What the types of problems link to.
            .merge(docs::problems())
            .layer(DefaultBodyLimit::disable())
            .layer(from_fn_with_state(limits, limits::bounded_head))
            .layer(compression::layer())
            .layer(from_fn(compression::supported_encodings))
            .layer(from_fn_with_state(observer, observe::observe));
        Self { router }
    }

    /// Handles one request.
    pub(crate) async fn answer(
        self,
        mut request: Request<Incoming>,
        _: IpAddr,
    ) -> Result<Response, Infallible> {
        // Errors are problem details, whatever a header asks for.
        let version = RequestedVersion { version: Version::Two, source: VersionSource::Path };
        request.extensions_mut().insert(version);
        self.router.oneshot(request.map(Body::new)).await
    }
}

/// The labels of all routes in metrics.
pub(crate) fn admin_routes() -> Vec<String> {
    let document = document::openapi();
    let documented = document.paths.paths.keys().cloned();
    let others = page::PATHS.map(str::to_owned);
    documented.chain(others).chain([format!("{ADMIN}{OPENAPI}")]).collect()
}
