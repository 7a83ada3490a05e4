//! `GET /v2/sales/{sale_id}/events`: the live state of a sale, as server-sent events.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::application::live::{Followed, Listener};
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::model::at_end::{AtEnd, EndOfBody};
use crate::infrastructure::http::model::headers::LAST_EVENT_ID;
use crate::infrastructure::http::model::live::{SaleStatus, event, facts};
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::params::LastEventIdHeader;
use crate::infrastructure::http::openapi::problems::SaleProblems;
use crate::infrastructure::http::request::path;
use crate::infrastructure::http::state::HttpState;

/// Time between two comments, which show proxies and clients that the connection lives.
const COMMENT_INTERVAL: Duration = Duration::from_secs(15);
const COMMENT: Bytes = Bytes::from_static(b":\n\n");
/// Clients whose connection ended come back after a time from this one on, spread over the next two seconds: an instance that stops
/// does not send all of its listeners to the others at once.
const RETRY_MS: u64 = 1_000;
const RETRY_SPREAD_MS: u64 = 2_000;
/// Distance of two neighbours in that spread; without a common factor with it, so that every value has its turn.
const RETRY_STEP_MS: u64 = 617;
/// No cache keeps a stream, and no proxy compresses it, which would hold events back.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("no-cache, no-store, no-transform");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
/// nginx hands on each event at once.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What is sent to one client.
struct Events {
    listener: Listener,
    comments: Interval,
    /// The first line, until it is sent.
    first: Option<Bytes>,
    _end: EndOfBody,
}

/// Follow a sale
///
/// Server-sent events named `state`: one at once, and one whenever the state or the pieces of the sale have changed, at most four a
/// second. A comment follows every 15 seconds. A client that is slow gets only the newest state. The stream ends about two seconds
/// after the sale, and a client that then comes back with `Last-Event-ID` gets 204, after which an `EventSource` stops.
#[utoipa::path(
    get,
    path = "/sales/{sale_id}/events",
    operation_id = "sale_events",
    tag = "sales",
    params(("sale_id" = schema::SaleId, Path, description = "The sale."), LastEventIdHeader),
    responses(
        (status = 200, description = "Events, whose `data` is this object.", body = SaleStatus, content_type = "text/event-stream"),
        (status = 204, description = "The sale has ended, and the client knows its last state."),
        SaleProblems,
    ),
)]
pub(crate) async fn get(
    State(http): State<HttpState>,
    sale_id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let seen = headers.get(LAST_EVENT_ID).and_then(|id| facts(id.to_str().ok()?));
    let sale = path::sale_id(sale_id)?;
    match http.read(http.of(sale).live.follow(sale, seen)).await? {
        Followed::Listening(listener) => Ok(following(listener)),
        Followed::Over(state) if seen == Some(state.facts) => {
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Followed::Over(state) => Ok(with_headers(Body::from(event(&state)))),
        Followed::NotFound => Err(http.no_sale(sale).await.into()),
    }
}

fn following(listener: Listener) -> Response {
    let at_end = AtEnd::default();
    let mut comments = interval_at(Instant::now() + COMMENT_INTERVAL, COMMENT_INTERVAL);
    comments.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let first = Some(retry());
    let events = Events { listener, comments, first, _end: EndOfBody(at_end.clone()) };
    let stream = stream::unfold(events, async |mut events| {
        let bytes = events.next().await?;
        Some((Ok::<_, Infallible>(bytes), events))
    });
    let mut response = with_headers(Body::from_stream(stream));
    response.extensions_mut().insert(at_end);
    response
}

impl Events {
    /// What is sent next; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        tokio::select! {
            biased;
            event = self.listener.next() => event,
            _ = self.comments.tick() => Some(COMMENT),
        }
    }
}

/// The time after which the client comes back.
fn retry() -> Bytes {
    static LISTENERS: AtomicU64 = AtomicU64::new(0);
    let steps = LISTENERS.fetch_add(1, Ordering::Relaxed).wrapping_mul(RETRY_STEP_MS);
    format!("retry: {}\n\n", RETRY_MS + steps % RETRY_SPREAD_MS).into()
}

fn with_headers(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, EVENT_STREAM),
        (header::CACHE_CONTROL, CACHE_CONTROL),
        (ACCEL_BUFFERING, HeaderValue::from_static("no")),
    ];
    (headers, body).into_response()
}
