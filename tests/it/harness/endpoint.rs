//! An endpoint of webhooks, which verifies signatures with the specification's own library.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::serve::Listener;
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use crate::program::Program;

/// A server that other systems would run.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    url: String,
    state: Arc<Received>,
}

#[derive(Debug)]
struct Received {
    status: AtomicU16,
    /// Seconds that the answers ask for; none if 0.
    retry_after: AtomicU16,
    tries: Mutex<Vec<Instant>>,
    secret: Mutex<String>,
    events: Mutex<Vec<Value>>,
    contexts: Mutex<Vec<String>>,
}

impl Endpoint {
    /// Starts it, on a free port.
    pub(crate) async fn start() -> Self {
        let (listener, address) = bind().await;
        let state = Arc::new(Received::new());
        let routes = routes(&state);
        TaskTracker::new().spawn(async move { axum::serve(listener, routes).await });
        Self { url: format!("http://{address}/"), state }
    }

    /// The same over TLS, as `localhost`.
    pub(crate) async fn start_over_tls(acceptor: TlsAcceptor) -> Self {
        let (listener, address) = bind().await;
        let state = Arc::new(Received::new());
        let (listener, routes) = (OverTls { listener, acceptor }, routes(&state));
        TaskTracker::new().spawn(async move { axum::serve(listener, routes).await });
        Self { url: format!("https://localhost:{}/", address.port()), state }
    }

    /// Becomes an endpoint of the service. Returns its id there.
    pub(crate) async fn is_added_by(&self, program: &Program) -> String {
        let added =
            program.run(&["webhook", "add", &self.url]).await.succeeded().documents().remove(0);
        added["secret"].as_str().unwrap().clone_into(&mut self.state.secret.lock().unwrap());
        added["id"].as_str().unwrap().to_owned()
    }

    /// Answers with this status from now on. Only what it accepts counts as received.
    pub(crate) fn answer_with(&self, status: u16) {
        self.state.status.store(status, Ordering::SeqCst);
    }

    /// Asks for so many seconds from now on.
    pub(crate) fn ask_for(&self, seconds: u16) {
        self.state.retry_after.store(seconds, Ordering::SeqCst);
    }

    /// When something genuine was sent, accepted or not.
    pub(crate) fn tries(&self) -> Vec<Instant> {
        self.state.tries.lock().unwrap().clone()
    }

    /// All events that it has accepted, in order.
    pub(crate) fn received(&self) -> Vec<Value> {
        self.state.events.lock().unwrap().clone()
    }
}

impl Endpoint {
    /// The W3C trace contexts of what it has accepted.
    pub(crate) fn contexts(&self) -> Vec<String> {
        self.state.contexts.lock().unwrap().clone()
    }
}

impl Received {
    fn new() -> Self {
        Self {
            status: AtomicU16::new(204),
            retry_after: AtomicU16::default(),
            tries: Mutex::default(),
            secret: Mutex::default(),
            events: Mutex::default(),
            contexts: Mutex::default(),
        }
    }
}

/// Accepts connections and shakes hands on them.
struct OverTls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for OverTls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

async fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn routes(state: &Arc<Received>) -> Router {
    Router::new().route("/", post(receive)).with_state(Arc::clone(state))
}

async fn receive(
    State(state): State<Arc<Received>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap) {
    let status = StatusCode::from_u16(state.status.load(Ordering::SeqCst)).unwrap();
    let webhook = Webhook::new(&state.secret.lock().unwrap()).unwrap();
    if webhook.verify(&body, &headers).is_err() {
        return (StatusCode::BAD_REQUEST, HeaderMap::new());
    }
    state.tries.lock().unwrap().push(Instant::now());
    if status.is_success() {
        let event: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(headers["webhook-id"].to_str().unwrap(), event["id"].as_str().unwrap());
        state.events.lock().unwrap().push(event);
        let context = headers.get("traceparent").map(|value| value.to_str().unwrap().to_owned());
        state.contexts.lock().unwrap().extend(context);
    }
    let mut answered = HeaderMap::new();
    let seconds = state.retry_after.load(Ordering::SeqCst);
    if seconds > 0 {
        answered.insert(RETRY_AFTER, seconds.into());
    }
    (status, answered)
}
