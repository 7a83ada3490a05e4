//! The router: both versions, the documentation, and the middleware around them.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{from_fn, from_fn_with_state};
use tower::util::option_layer;
use tower_http::cors::CorsLayer;

use super::access::gate::Access;
use super::access::layer;
use super::docs;
use super::error::ApiError;
use super::error::problem::Problem;
use super::middleware::metrics::route_label;
use super::middleware::observe::Observer;
use super::middleware::{compression, limits, observe, version};
use super::model::paths;
use super::request::head::RequestLimits;
use super::request::version::RequestedVersion;
use super::state::HttpState;
use super::{v1, v2};
use crate::config::{LimitsConfig, Setting};

/// The router of the buyers' port, which serves `extra` beside the API.
pub(crate) fn router(
    state: HttpState,
    observer: Observer,
    (limits, access): (Setting<RequestLimits>, Option<Access>),
    (cors, extra): (Option<CorsLayer>, Router),
) -> Router {
    let (v1, _) = v1::router().split_for_parts();
    let (v2, _) = v2::router().split_for_parts();
    let guard = || option_layer(access.clone().map(|it| from_fn_with_state(it, layer::guard)));
    let v1 = v1.layer(guard());
    let v2 = v2
        .fallback(async || Problem::from(ApiError::RouteNotFound))
        .method_not_allowed_fallback(async || Problem::from(ApiError::MethodNotAllowed))
        .layer(guard());
    Router::new()
        .nest("/v1", v1.clone())
        .merge(v1)
        .nest("/v2", v2)
        .with_state(state)
        .merge(docs::router())
        .merge(extra)
        .fallback(async |request: Request| {
            ApiError::RouteNotFound.in_version(RequestedVersion::of(&request).version)
        })
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        // `bounded_body` bounds the body.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn(version::refuse_unknown))
        .layer(from_fn_with_state(limits.clone(), limits::bounded_body))
        .layer(from_fn_with_state(limits, limits::bounded_head))
        .layer(compression::layer())
        .layer(from_fn(compression::supported_encodings))
        .layer(option_layer(cors))
        .layer(from_fn_with_state(observer, observe::observe))
}

/// The labels of all routes in metrics: those of the OpenAPI document, and the paths without a version.
pub(crate) fn routes() -> Vec<String> {
    let document = docs::document::openapi();
    let mut routes: Vec<String> =
        document.paths.paths.keys().map(|path| route_label(Some(path)).to_owned()).collect();
    routes.extend(paths::UNVERSIONED_ROUTES.map(str::to_owned));
    routes.sort();
    routes.dedup();
    routes
}

/// A limit is of a route that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("limits.routes: there is no route {route}; those with limits are {known}")]
pub(crate) struct UnknownRoute {
    route: String,
    known: String,
}

/// Checks that limits are of routes that exist: others would never count.
pub(crate) fn check_limits(limits: &LimitsConfig) -> Result<(), UnknownRoute> {
    if limits.routes.is_empty() {
        return Ok(());
    }
    let known = limited_routes();
    let unknown =
        limits.routes.iter().map(ToString::to_string).find(|route| !known.contains(route));
    unknown.map_or(Ok(()), |route| Err(UnknownRoute { route, known: known.join(", ") }))
}

/// What may have a limit of its own, such as `POST /checkout`: the operations of both versions, in order.
fn limited_routes() -> Vec<String> {
    let document = serde_json::to_value(docs::document::openapi()).unwrap_or_default();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        let methods =
            item.as_object().into_iter().flatten().map(|(method, _)| method.to_uppercase());
        let route = route_label(Some(path));
        routes.extend(methods.map(|method| format!("{method} {route}")));
    }
    routes.sort();
    routes.dedup();
    routes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infrastructure::http::middleware::metrics::statuses;

    #[test]
    fn every_status_in_the_document_has_a_label() {
        let (document, statuses) =
            (serde_json::to_value(docs::document::openapi()).unwrap(), statuses());

        for (path, operations) in document["paths"].as_object().unwrap() {
            for operation in operations.as_object().unwrap().values() {
                for status in operation["responses"].as_object().unwrap().keys() {
                    assert!(statuses.contains(&status.parse().unwrap()), "{path} {status}");
                }
            }
        }
    }

    #[test]
    fn each_operation_of_the_api_may_have_a_limit_and_nothing_else() {
        let limited = limited_routes();

        for operation in ["POST /checkout", "PUT /checkouts/{code}/items/{item_id}", "GET /sales"] {
            assert!(limited.contains(&operation.to_owned()), "{operation} is not in {limited:?}");
        }
        let is_operation = |text: &String| {
            let (method, route) = text.split_once(' ').unwrap();
            ["GET", "POST", "PUT", "DELETE"].contains(&method)
                && routes().contains(&route.to_owned())
        };
        assert!(limited.iter().all(is_operation), "{limited:?}");
    }

    #[test]
    fn both_versions_of_a_route_have_one_label() {
        let routes = routes();

        assert_eq!(routes.iter().filter(|route| *route == "/sales/{sale_id}").count(), 1);
        assert!(routes.contains(&"/checkout".to_owned()) && routes.contains(&"/docs/".to_owned()));
    }
}
