//! The fast path: `POST /checkout` and `POST /purchase` bypass the router.
//!
//! Every request on the buyers' port arrives here. A plain request for one of the two goes straight to its handler. All others go
//! through the router, which has the same handlers, and so do requests for the two with a body, a version in a header, or another
//! origin. The router and its middleware would double the cost of a refusal.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::{BoxFuture, Either, Ready, ready};
use hyper::body::Incoming;
use tower::ServiceExt;
use tower_http::cors::CorsLayer;

use super::access::caller::Caller;
use super::access::gate::{Access, Arrival};
use super::access::layer::Origin;
use super::cached;
use super::error::ApiError;
use super::middleware::compression::is_compressible;
use super::middleware::observe::{Observer, RequestInProgress};
use super::model::current_request::{with_id, within_id};
use super::model::links::{self, LinkBase};
use super::model::version::Version;
use super::request::head::RequestLimits;
use super::request::version::{self, RequestedVersion, VersionSource};
use super::router::router;
use super::state::HttpState;
use super::v1::{checkout, purchase};
use crate::application::checkout::{CheckoutAnswer, CheckoutCommand};
use crate::config::Setting;
use crate::domain::code::CodeClaim;

/// The list of sales.
const SALES: &str = "/v2/sales";
/// Its label in metrics.
const SALES_LABEL: &str = "/sales";
/// A client that accepts compressed responses would get another one.
const ACCEPT_ENCODING: HeaderValue = HeaderValue::from_static("accept-encoding");

/// Handles the requests of all connections.
#[derive(Clone)]
pub(crate) struct FastPath {
    shared: Arc<Shared>,
}

struct Shared {
    state: HttpState,
    router: Router,
    observer: Observer,
    limits: Setting<RequestLimits>,
    link_base: LinkBase,
    /// `None` if every request may pass, at any time.
    access: Option<Access>,
    /// Whether responses to pages of other origins need CORS headers.
    has_cors: bool,
}

/// A route that bypasses the router.
#[derive(Clone, Copy)]
enum FastRoute {
    Checkout,
    Purchase,
}

impl FastRoute {
    /// The label of the route in metrics.
    fn label(self) -> &'static str {
        match self {
            Self::Checkout => "/checkout",
            Self::Purchase => "/purchase",
        }
    }

    /// Does what needs no I/O.
    fn begin(
        self,
        http: &HttpState,
        caller: &mut Caller,
        query: Option<&str>,
    ) -> Result<Begun, ApiError> {
        match self {
            Self::Checkout => match checkout::begin(http, caller, query)? {
                checkout::Begun::Refused(refused) => match caller.admit_at_once() {
                    Some(admitted) => {
                        admitted?;
                        checkout::to_response(refused).map(Begun::Answered)
                    }
                    None => Ok(Begun::Uncounted(refused)),
                },
                checkout::Begun::Accepted(command) => Ok(Begun::Accepted(Work::Checkout(command))),
            },
            Self::Purchase => {
                purchase::parse_code(query).map(|claim| Begun::Accepted(Work::Purchase(claim)))
            }
        }
    }
}

impl FastPath {
    /// Builds the router, which serves `extra` beside the API.
    pub(crate) fn new(
        state: HttpState,
        observer: Observer,
        (limits, link_base, access): (Setting<RequestLimits>, LinkBase, Option<Access>),
        (cors, extra): (Option<CorsLayer>, Router),
    ) -> Self {
        let has_cors = cors.is_some();
        let router = router(
            state.clone(),
            observer.clone(),
            (limits.clone(), access.clone()),
            (cors, extra),
        );
        let shared = Shared { state, router, observer, limits, link_base, access, has_cors };
        Self { shared: Arc::new(shared) }
    }

    /// Handles one request. A refusal from memory is ready at once. A plain request whose sender is known is dropped before anything
    /// is awaited, so that its connection reads on into the same memory.
    pub(crate) fn answer(&self, request: Request<Incoming>, peer: IpAddr) -> Answer {
        if let Some(response) = self.shared.cached_list(&request, peer) {
            return at_once(response);
        }
        let shared = Arc::clone(&self.shared);
        let Some(fast_route) = self.shared.fast_route(&request) else {
            return Either::Right(Box::pin(async move { shared.route(request, peer).await }));
        };
        let in_progress = self.shared.observer.begin(&request);
        let at_gate = |access: &Access| {
            let arrival = arrival(&request, peer, fast_route);
            in_progress.handle(|| access.let_in_at_once(&arrival))
        };
        let Some(let_in) = shared.access().map_or_else(|| Some(no_gate()), at_gate) else {
            let identified = shared.identify((request, peer, fast_route), in_progress);
            return Either::Right(Box::pin(identified));
        };
        shared.handle(let_in, (fast_route, request.uri().query()), in_progress)
    }
}

/// The response to a request: there already, or being made.
pub(crate) type Answer =
    Either<Ready<Result<Response, Infallible>>, BoxFuture<'static, Result<Response, Infallible>>>;

fn at_once(response: Response) -> Answer {
    Either::Left(ready(Ok(response)))
}

/// A request with valid parameters.
enum Begun {
    Answered(Response),
    /// Refused from memory, if it is within its limits.
    Uncounted(CheckoutAnswer),
    Accepted(Work),
}

/// What is left to do for a request.
enum Work {
    Checkout(CheckoutCommand),
    Purchase(CodeClaim),
}

/// The answer of a gate that admits every caller.
fn no_gate() -> (Caller, Result<(), ApiError>) {
    (Caller::default(), Ok(()))
}

/// The request at the gate. It has no body.
fn arrival(request: &Request<Incoming>, peer: IpAddr, route: FastRoute) -> Arrival<'_> {
    Arrival {
        peer,
        method: request.method(),
        target: request.uri(),
        headers: request.headers(),
        body: &[],
        route: Some(route.label()),
        is_of_buyer: true,
    }
}

impl Shared {
    /// `None` if every request may pass now.
    fn access(&self) -> Option<&Access> {
        self.access.as_ref().filter(|access| access.is_on())
    }

    /// Handles a request whose sender is not known at once.
    async fn identify(
        self: Arc<Self>,
        (request, peer, fast_route): (Request<Incoming>, IpAddr, FastRoute),
        in_progress: RequestInProgress,
    ) -> Result<Response, Infallible> {
        let let_in = match &self.access {
            None => no_gate(),
            Some(access) => {
                let arrival = arrival(&request, peer, fast_route);
                let let_in = pin!(access.let_in(&arrival));
                in_progress.serve(with_id(in_progress.id(), let_in)).await
            }
        };
        let answer = self.handle(let_in, (fast_route, request.uri().query()), in_progress);
        drop(request);
        answer.await
    }

    /// Handles a request that has passed the gate, or was refused there.
    fn handle(
        self: Arc<Self>,
        (mut caller, let_in): (Caller, Result<(), ApiError>),
        (fast_route, query): (FastRoute, Option<&str>),
        in_progress: RequestInProgress,
    ) -> Answer {
        let part = || let_in.and_then(|()| fast_route.begin(&self.state, &mut caller, query));
        match in_progress.handle(|| within_id(in_progress.id(), part)) {
            Ok(Begun::Answered(response)) => {
                at_once(self.end((in_progress, caller), fast_route, Ok(response)))
            }
            Ok(Begun::Uncounted(refused)) => {
                Either::Right(Box::pin(self.refuse(refused, caller, in_progress)))
            }
            // Each kind has a future of its own, with no room for the other's.
            Ok(Begun::Accepted(Work::Checkout(command))) => {
                Either::Right(Box::pin(self.check_out(command, caller, in_progress)))
            }
            Ok(Begun::Accepted(Work::Purchase(claim))) => {
                Either::Right(Box::pin(self.purchase(claim, caller, in_progress)))
            }
            Err(error) => at_once(self.end((in_progress, caller), fast_route, Err(error))),
        }
    }

    async fn refuse(
        self: Arc<Self>,
        refused: CheckoutAnswer,
        mut caller: Caller,
        in_progress: RequestInProgress,
    ) -> Result<Response, Infallible> {
        let admitted = in_progress.serve(with_id(in_progress.id(), pin!(caller.admit()))).await;
        let response = admitted.and_then(|()| checkout::to_response(refused));
        Ok(self.end((in_progress, caller), FastRoute::Checkout, response))
    }

    async fn check_out(
        self: Arc<Self>,
        command: CheckoutCommand,
        mut caller: Caller,
        in_progress: RequestInProgress,
    ) -> Result<Response, Infallible> {
        let response = {
            // Pinned here: what runs it takes a pointer, and does not move it again.
            let handled = pin!(async {
                caller.admit().await?;
                checkout::execute(&self.state, command).await
            });
            in_progress.serve(with_id(in_progress.id(), handled)).await
        };
        Ok(self.end((in_progress, caller), FastRoute::Checkout, response))
    }

    async fn purchase(
        self: Arc<Self>,
        claim: CodeClaim,
        mut caller: Caller,
        in_progress: RequestInProgress,
    ) -> Result<Response, Infallible> {
        let response = {
            let handled = pin!(purchase::settle(&self.state, &mut caller, claim));
            in_progress.serve(with_id(in_progress.id(), handled)).await
        };
        Ok(self.end((in_progress, caller), FastRoute::Purchase, response))
    }

    fn end(
        &self,
        (in_progress, caller): (RequestInProgress, Caller),
        fast_route: FastRoute,
        response: Result<Response, ApiError>,
    ) -> Response {
        let mut response = response.unwrap_or_else(IntoResponse::into_response);
        caller.finish(response.headers_mut());
        let requested = (RequestedVersion::default(), fast_route.label());
        self.observer.end(in_progress, requested, &mut response);
        response
    }

    /// The router's response.
    async fn route(
        &self,
        mut request: Request<Incoming>,
        peer: IpAddr,
    ) -> Result<Response, Infallible> {
        if self.access().is_some() {
            let target = request.uri().clone();
            request.extensions_mut().insert(Origin { peer, target });
        }
        version::route_by_version(&mut request);
        let base = self.link_base.of(peer, request.headers());
        let serve = self.router.clone().oneshot(request.map(Body::new));
        let mut response = links::with_base(base, serve).await?;
        if response.status() == StatusCode::NOT_MODIFIED {
            // The router has set the length of the empty body. In a 304 it would be the length of the 200 (RFC 9110, section 8.6).
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        Ok(response)
    }

    /// A cached list of sales. The router has the rest: other origins, compression, links of a gateway, and who may come in.
    fn cached_list(&self, request: &Request<Incoming>, peer: IpAddr) -> Option<Response> {
        let cache = self.state.home().cache.as_ref()?;
        let (uri, headers) = (request.uri(), request.headers());
        let is_plain = self.access().is_none()
            && uri.path() == SALES
            && request.method() == Method::GET
            && request.body().is_end_stream()
            && !self.has_cors
            && !headers.contains_key(header::ACCEPT_ENCODING)
            && self.limits.get().check_head(request).is_ok();
        let page = if is_plain { cache.peek(uri.path_and_query()?.as_str()) } else { None }?;
        if page.next.is_some() && self.link_base.of(peer, headers).is_some() {
            return None;
        }
        let in_progress = self.observer.begin(request);
        let mut response = cached::response(headers, &page);
        if is_compressible(&page.body) {
            response.headers_mut().insert(header::VARY, ACCEPT_ENCODING);
        }
        let version = RequestedVersion { version: Version::Two, source: VersionSource::Path };
        self.observer.end(in_progress, (version, SALES_LABEL), &mut response);
        Some(response)
    }

    fn fast_route(&self, request: &Request<Incoming>) -> Option<FastRoute> {
        let fast_route = match request.uri().path() {
            "/checkout" | "/v1/checkout" => FastRoute::Checkout,
            "/purchase" | "/v1/purchase" => FastRoute::Purchase,
            _ => return None,
        };
        let is_plain = request.method() == Method::POST
            && request.body().is_end_stream()
            && !(self.has_cors && request.headers().contains_key(header::ORIGIN))
            && self.limits.get().check_head(request).is_ok_and(|head| !head.may_name_version);
        is_plain.then_some(fast_route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of the future that this function returns.
    fn room<A, C, F>(_: impl FnOnce(Arc<Shared>, A, C, RequestInProgress) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_future_of_a_request_has_no_room_for_what_a_plain_one_does_not_do() {
        // Each is allocated, and moved, for every request: with ten times as much a checkout cost an eighth more. Up to a kibibyte the
        // allocator needs no search.
        let (checkout, purchase) = (room(Shared::check_out), room(Shared::purchase));
        assert!(checkout <= 1_024, "{checkout} bytes");
        assert!(purchase < 1_800, "{purchase} bytes");
        assert!(size_of::<Answer>() < 256, "{} bytes", size_of::<Answer>());
    }
}
