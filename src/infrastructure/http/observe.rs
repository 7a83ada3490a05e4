//! Around every request: its id, its metrics, its line in the log, and the word that the connection ends when the service does.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::{MatchedPath, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use axum::middleware::Next;
use axum::response::Response;

use super::error::Cause;
use super::log_budget::{Line, LogBudget};
use super::metrics::{HttpMetrics, route_of};
use super::protection::protect;
use super::version::{API_VERSION, Asked, SaidBy, VARIES_BY, Version};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken from a client.
const MAX_REQUEST_ID: usize = 128;
/// Digits of the numbers by which requests go that brought no id, as long as they suffice.
const NUMBER_DIGITS: usize = 8;

/// What observing needs.
#[derive(Clone)]
pub(crate) struct Observer {
    shared: Arc<Shared>,
}

struct Shared {
    metrics: HttpMetrics,
    log_all: bool,
    not_served: LogBudget,
    /// Begins every id that is made here; another one for every run of an instance.
    id_prefix: String,
    next_id: AtomicU64,
    is_draining: Box<dyn Fn() -> bool + Send + Sync>,
    /// What every answer of version 1 tells of its end; nothing as long as none is planned.
    end_of_version_1: Vec<(HeaderName, HeaderValue)>,
    /// Whether connections are.
    is_encrypted: bool,
}

impl Observer {
    /// Logs all requests or only failures; connections are told to close while `is_draining` says so.
    pub(crate) fn new(
        metrics: HttpMetrics,
        log_all: bool,
        id_prefix: String,
        is_draining: impl Fn() -> bool + Send + Sync + 'static,
        (end_of_version_1, is_encrypted): (Vec<(HeaderName, HeaderValue)>, bool),
    ) -> Self {
        let shared = Shared {
            metrics,
            log_all,
            not_served: LogBudget::new(),
            id_prefix,
            next_id: AtomicU64::new(1),
            is_draining: Box::new(is_draining),
            end_of_version_1,
            is_encrypted,
        };
        Self { shared: Arc::new(shared) }
    }
}

impl Shared {
    /// The client's id if it is sane, else one of ours.
    fn request_id(&self, headers: &HeaderMap) -> HeaderValue {
        if let Some(id) = headers.get(REQUEST_ID).filter(|id| is_sane(id.as_bytes())) {
            return id.clone();
        }
        let number = self.next_id.fetch_add(1, Ordering::Relaxed);
        // One allocation, and none that grows: every request comes by here.
        let mut id = String::with_capacity(self.id_prefix.len() + "-".len() + NUMBER_DIGITS);
        let written = write!(id, "{}-{number:0NUMBER_DIGITS$x}", self.id_prefix);
        let id = written.ok().and_then(|()| HeaderValue::try_from(id).ok());
        id.unwrap_or(HeaderValue::from_static("unknown"))
    }
}

fn is_sane(id: &[u8]) -> bool {
    (1..=MAX_REQUEST_ID).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte))
}

/// A request that is being answered.
pub(crate) struct Observed {
    since: Instant,
    id: HeaderValue,
    method: Method,
}

impl Observer {
    /// Notes when the request came and by which id it goes.
    pub(crate) fn begin<B>(&self, request: &Request<B>) -> Observed {
        let method = request.method().clone();
        Observed { since: Instant::now(), id: self.shared.request_id(request.headers()), method }
    }

    /// Counts, logs and marks the answer.
    pub(crate) fn end(
        &self,
        observed: Observed,
        (asked, route): (Asked, &str),
        response: &mut Response,
    ) {
        let Observed { since, id, method } = observed;
        let shared = &self.shared;
        let took = since.elapsed();
        let status = response.status().as_u16();
        shared.metrics.answered(&method, (asked.version, route), status, took);
        let elapsed_ms = took.as_secs_f64() * 1_000.0;
        let request_id = id.to_str().unwrap_or_default();
        if status >= 500 {
            let cause = response.extensions_mut().remove::<Cause>();
            let cause = cause.map_or_else(String::new, |cause| describe(&cause));
            if status == 503 {
                let line = shared.not_served.line(since);
                if let Line::WriteAfter(left_out) = line {
                    tracing::warn!(left_out, "requests not served that have no line of their own");
                }
                if line != Line::LeaveOut {
                    tracing::warn!(request_id, %method, route, status, elapsed_ms, cause, "request not served");
                }
            } else {
                tracing::error!(request_id, %method, route, status, elapsed_ms, cause, "request failed");
            }
        } else if shared.log_all {
            tracing::info!(request_id, %method, route, status, elapsed_ms, "request");
        }
        let headers = response.headers_mut();
        protect(headers, shared.is_encrypted);
        headers.insert(REQUEST_ID, id);
        headers.insert(API_VERSION, asked.version.header());
        if asked.version == Version::One && asked.said_by != SaidBy::Nothing {
            headers.extend(shared.end_of_version_1.iter().cloned());
        }
        if (shared.is_draining)() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// Around the router.
pub(crate) async fn observe(
    State(observer): State<Observer>,
    request: axum::extract::Request,
    next: Next,
) -> Response {
    let begun = observer.begin(&request);
    let asked = Asked::by(&request);
    let is_read = request.method() == Method::GET || request.method() == Method::HEAD;
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    let route = route_of(matched.as_ref().map(MatchedPath::as_str));
    observer.end(begun, (asked, route), &mut response);
    if is_read && asked.said_by == SaidBy::Headers {
        response.headers_mut().append(header::VARY, VARIES_BY);
    }
    response
}

/// The error and what caused it.
fn describe(cause: &Cause) -> String {
    let mut text = cause.0.to_string();
    let mut source = cause.0.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
