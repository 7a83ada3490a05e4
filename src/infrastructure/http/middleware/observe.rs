//! Around every request: its id, its metrics, its line in the access log, and the headers that every response has.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, State};
use axum::http::{HeaderName, HeaderValue, Method, Request, header};
use axum::middleware::Next;
use axum::response::Response;
use opentelemetry::KeyValue;

use super::access_log::{AccessLog, CompletedRequest};
use super::metrics::{HttpMetrics, method_label, route_label};
use super::protection::protect;
use super::request_id::RequestIds;
use crate::config::Setting;
use crate::infrastructure::http::model::current_request::with_id;
use crate::infrastructure::http::model::headers::{API_VERSION, REQUEST_ID};
use crate::infrastructure::http::model::version::Version;
use crate::infrastructure::http::request::version::{RequestedVersion, VersionSource};
use crate::infrastructure::traces::{Root, Spanned};

/// The request headers that select the version of a path without one.
const VARIES_BY: HeaderValue = HeaderValue::from_static("api-version, accept");

/// Observes requests.
#[derive(Clone)]
pub(crate) struct Observer {
    shared: Arc<Shared>,
}

struct Shared {
    metrics: HttpMetrics,
    log: AccessLog,
    ids: RequestIds,
    is_draining: Box<dyn Fn() -> bool + Send + Sync>,
    /// Headers that announce the end of version 1; empty if it is not planned.
    sunset: Vec<(HeaderName, HeaderValue)>,
    /// Whether the server uses TLS.
    is_encrypted: bool,
}

/// A request that has no response yet.
pub(crate) struct RequestInProgress {
    started: Instant,
    id: HeaderValue,
    method: Method,
    trace: Root,
}

impl RequestInProgress {
    /// Serves the request in its span, if it is traced.
    pub(crate) fn serve<F: Future>(&self, serve: F) -> Spanned<F> {
        self.trace.run(serve)
    }

    /// Does a part of it without an `.await` in its span, if it is traced.
    pub(crate) fn handle<T>(&self, part: impl FnOnce() -> T) -> T {
        let _span = self.trace.enter();
        part()
    }
}

impl Observer {
    /// New request ids start with `id_prefix`. While `is_draining` returns true, responses close their connections.
    pub(crate) fn new(
        metrics: HttpMetrics,
        all_requests: Setting<bool>,
        id_prefix: String,
        is_draining: impl Fn() -> bool + Send + Sync + 'static,
        (sunset, is_encrypted): (Vec<(HeaderName, HeaderValue)>, bool),
    ) -> Self {
        let shared = Shared {
            metrics,
            log: AccessLog::new(all_requests),
            ids: RequestIds::new(id_prefix),
            is_draining: Box::new(is_draining),
            sunset,
            is_encrypted,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Records the time and the id of the request.
    pub(crate) fn begin<B>(&self, request: &Request<B>) -> RequestInProgress {
        let (id, method) = (self.shared.ids.id_of(request.headers()), request.method().clone());
        let trace = Root::of_request(request.headers(), "request");
        RequestInProgress { started: Instant::now(), id, method, trace }
    }

    /// Counts and logs the response, and adds its headers.
    pub(crate) fn end(
        &self,
        request: RequestInProgress,
        (requested, route): (RequestedVersion, &str),
        response: &mut Response,
    ) {
        let RequestInProgress { started, id, method, trace } = request;
        let shared = &self.shared;
        let (elapsed, status) = (started.elapsed(), response.status().as_u16());
        shared.metrics.count(
            &method,
            (requested.version, route),
            status,
            (elapsed, trace.recorded_ids()),
        );
        let completed = CompletedRequest { id: &id, method: &method, route, started, elapsed };
        {
            let _span = trace.enter();
            shared.log.write(&completed, response);
        }
        trace.end(
            || describe(&completed, (requested.version, status)),
            (status >= 500).then_some("the request was not served"),
        );
        let headers = response.headers_mut();
        protect(headers, shared.is_encrypted);
        headers.insert(REQUEST_ID, id);
        headers.insert(API_VERSION, requested.version.header());
        if requested.version == Version::One && requested.source != VersionSource::Unversioned {
            headers.extend(shared.sunset.iter().cloned());
        }
        if (shared.is_draining)() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

impl RequestInProgress {
    /// Its id.
    pub(crate) fn id(&self) -> HeaderValue {
        self.id.clone()
    }
}

/// The name of a request's span, and what it says. No path and no query: they may contain codes and buyers.
fn describe(
    request: &CompletedRequest<'_>,
    (version, status): (Version, u16),
) -> (String, Vec<KeyValue>) {
    let CompletedRequest { id, method, route, .. } = request;
    let attributes = vec![
        KeyValue::new("http.request.method", method_label(method)),
        KeyValue::new("http.route", (*route).to_owned()),
        KeyValue::new("http.response.status_code", i64::from(status)),
        KeyValue::new("flash_sale.api_version", version.as_str()),
        KeyValue::new("flash_sale.request_id", id.to_str().unwrap_or_default().to_owned()),
    ];
    (format!("{} {route}", method_label(method)), attributes)
}

/// Observes the requests that go through the router.
pub(crate) async fn observe(
    State(observer): State<Observer>,
    request: axum::extract::Request,
    next: Next,
) -> Response {
    let in_progress = observer.begin(&request);
    let requested = RequestedVersion::of(&request);
    let is_read = request.method() == Method::GET || request.method() == Method::HEAD;
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let serve = with_id(in_progress.id(), next.run(request));
    let mut response = in_progress.serve(serve).await;
    let route = route_label(matched.as_ref().map(MatchedPath::as_str));
    observer.end(in_progress, (requested, route), &mut response);
    if is_read && requested.source == VersionSource::Headers {
        response.headers_mut().append(header::VARY, VARIES_BY);
    }
    response
}
