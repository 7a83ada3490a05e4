//! The gate as a layer of the router: a request is identified and counted before its handler runs.

use std::net::IpAddr;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::Uri;
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;

use super::gate::{Access, Arrival};
use crate::infrastructure::http::middleware::metrics::route_label;
use crate::infrastructure::http::request::version::RequestedVersion;

/// What the layer needs to know of a request besides: the other end of its connection, and its target as the client has sent it.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) peer: IpAddr,
    pub(crate) target: Uri,
}

/// Lets a request in, or refuses it.
pub(crate) async fn guard(State(access): State<Access>, request: Request, next: Next) -> Response {
    let Some(origin) = request.extensions().get::<Origin>().cloned() else {
        return next.run(request).await;
    };
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map(|path| route_label(Some(path.as_str())));
    let version = RequestedVersion::of(&request).version;
    let (mut head, body) = request.into_parts();
    // It is in memory already: the layer around this one has read it.
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let arrival = Arrival {
        peer: origin.peer,
        method: &head.method,
        target: &origin.target,
        headers: &head.headers,
        body: &body,
        route,
        is_of_buyer: route.is_some_and(is_of_buyer),
    };
    let (mut caller, mut result) = access.let_in(&arrival).await;
    if result.is_ok() {
        result = caller.admit().await;
    }
    let mut response = match result {
        Ok(()) => {
            head.extensions.insert(caller.counted());
            next.run(Request::from_parts(head, Body::from(body))).await
        }
        Err(error) => error.in_version(version),
    };
    caller.finish(response.headers_mut());
    response
}

/// Whether a route, without its version, is about a buyer. All are, but those of sales: a new route needs no change here to be safe.
fn is_of_buyer(route: &str) -> bool {
    !route.starts_with("/sales")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_but_those_of_sales_is_about_a_buyer() {
        for path in
            ["/sales/active", "/v1/sales/{sale_id}", "/v2/sales/{sale_id}/items", "/v2/sales"]
        {
            assert!(!is_of_buyer(route_label(Some(path))), "{path}");
        }
        for path in ["/checkout", "/v1/purchase", "/v2/buyers/{buyer_id}/purchases", "/v2/anything"]
        {
            assert!(is_of_buyer(route_label(Some(path))), "{path}");
        }
    }
}
