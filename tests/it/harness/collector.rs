//! A collector of spans, which reads them as the OpenTelemetry protocol has it.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

/// A running collector.
#[derive(Debug, Clone)]
pub(crate) struct Collector {
    address: SocketAddr,
    state: Arc<Received>,
}

#[derive(Debug, Default)]
struct Received {
    spans: Mutex<Vec<Span>>,
    resources: Mutex<Vec<KeyValue>>,
    headers: Mutex<HeaderMap>,
    exports: AtomicUsize,
    status: Mutex<StatusCode>,
    /// It answers after this time, in ms.
    delay: AtomicU64,
    /// It rejects so many spans of each export.
    rejects: AtomicU64,
}

impl Collector {
    /// Starts it, on a free port.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Received>::default();
        let routes =
            Router::new().route("/v1/traces", post(receive)).with_state(Arc::clone(&state));
        TaskTracker::new().spawn(async move { axum::serve(listener, routes).await });
        Self { address, state }
    }

    /// For `telemetry.otlp.endpoint`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers with this status from now on. Only what it accepts counts as received.
    pub(crate) fn answer_with(&self, status: StatusCode) {
        *self.state.status.lock().unwrap() = status;
    }

    /// Answers after this time from now on.
    pub(crate) fn answer_after(&self, delay: Duration) {
        self.state.delay.store(u64::try_from(delay.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Rejects so many spans of each export from now on.
    pub(crate) fn reject(&self, spans: u64) {
        self.state.rejects.store(spans, Ordering::SeqCst);
    }

    /// Exports so far, also those that it did not accept.
    pub(crate) fn exports(&self) -> usize {
        self.state.exports.load(Ordering::SeqCst)
    }

    /// All spans so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.state.spans.lock().unwrap().clone()
    }

    /// The spans of one trace, by its id in hexadecimal digits.
    pub(crate) fn trace(&self, trace: &str) -> Vec<Span> {
        self.spans().into_iter().filter(|span| hex(&span.trace_id) == trace).collect()
    }

    /// A header of the last export.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let headers = self.state.headers.lock().unwrap();
        Some(headers.get(name)?.to_str().unwrap().to_owned())
    }

    /// An attribute of the service that has sent the last export.
    pub(crate) fn resource(&self, name: &str) -> Option<String> {
        attribute(&self.state.resources.lock().unwrap(), name)
    }
}

/// The digits of an id.
pub(crate) fn hex(id: &[u8]) -> String {
    let mut text = String::new();
    for byte in id {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// An attribute as text.
pub(crate) fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{other:?}"),
    }
}

async fn receive(
    State(state): State<Arc<Received>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Vec<u8>) {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    state.exports.fetch_add(1, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(state.delay.load(Ordering::SeqCst))).await;
    let status = *state.status.lock().unwrap();
    if !status.is_success() {
        return (status, Vec::new());
    }
    *state.headers.lock().unwrap() = headers;
    for resource in request.resource_spans {
        *state.resources.lock().unwrap() = resource.resource.unwrap().attributes;
        let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        state.spans.lock().unwrap().extend(spans);
    }
    let rejected_spans = i64::try_from(state.rejects.load(Ordering::SeqCst)).unwrap();
    let error_message = String::new();
    let partial_success = Some(ExportTracePartialSuccess { rejected_spans, error_message });
    (status, ExportTraceServiceResponse { partial_success }.encode_to_vec())
}
