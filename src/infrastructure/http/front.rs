//! The front: every request of the buyers' port comes in here.
//!
//! What a sale's first second is made of goes by a straight line to its handler. Everything else, and every request that is
//! odd in any way, takes the router with its layers, which has all routes: there the same handlers stand. The router and
//! its three layers cost a refusal as much again as all the rest of it.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::{Method, Request, StatusCode, header};
use axum::response::Response;
use hyper::body::Incoming;
use tower::ServiceExt;
use tower_http::cors::CorsLayer;

use super::limits::RequestLimits;
use super::observe::Observer;
use super::version::Asked;
use super::{Api, checkout, purchase, version};

/// Answers the requests of all connections.
#[derive(Clone)]
pub(crate) struct Front {
    shared: Arc<Shared>,
}

struct Shared {
    api: Api,
    router: Router,
    observer: Observer,
    limits: RequestLimits,
    /// Whether requests of other origins' pages get more than an answer.
    has_cors: bool,
}

/// Requests that need no router.
#[derive(Clone, Copy)]
enum Straight {
    Checkout,
    Purchase,
}

impl Straight {
    /// The routes as templates, for metrics.
    fn route(self) -> &'static str {
        match self {
            Self::Checkout => "/checkout",
            Self::Purchase => "/purchase",
        }
    }
}

impl Front {
    /// `extra` is served beside the routes of the API.
    pub(crate) fn new(
        api: Api,
        observer: Observer,
        limits: RequestLimits,
        (cors, extra): (Option<CorsLayer>, Router),
    ) -> Self {
        let has_cors = cors.is_some();
        let router = api.clone().router(observer.clone(), limits, (cors, extra));
        Self { shared: Arc::new(Shared { api, router, observer, limits, has_cors }) }
    }

    /// Answers one request.
    pub(crate) async fn answer(
        self,
        mut request: Request<Incoming>,
    ) -> Result<Response, Infallible> {
        let Shared { api, router, observer, .. } = &*self.shared;
        let Some(straight) = self.shared.straight(&request) else {
            version::lead(version::asked_for(&request), &mut request);
            let mut response = router.clone().oneshot(request.map(Body::new)).await?;
            if response.status() == StatusCode::NOT_MODIFIED {
                // The router has counted the empty body; what is not sent has another length (RFC 9110, section 8.6).
                response.headers_mut().remove(header::CONTENT_LENGTH);
            }
            return Ok(response);
        };
        let observed = observer.begin(&request);
        let query = request.uri().query();
        let mut response = match straight {
            Straight::Checkout => checkout::collect(api, query).await,
            Straight::Purchase => purchase::buy(api, query).await,
        };
        observer.end(observed, (Asked::default(), straight.route()), &mut response);
        Ok(response)
    }
}

impl Shared {
    fn straight(&self, request: &Request<Incoming>) -> Option<Straight> {
        let straight = match request.uri().path() {
            "/checkout" | "/v1/checkout" => Straight::Checkout,
            "/purchase" | "/v1/purchase" => Straight::Purchase,
            _ => return None,
        };
        let is_plain = request.method() == Method::POST
            && request.body().is_end_stream()
            && !(self.has_cors && request.headers().contains_key(header::ORIGIN))
            && self.limits.head(request).is_ok_and(|framing| !framing.names_version);
        is_plain.then_some(straight)
    }
}
