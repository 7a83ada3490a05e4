//! An endpoint of webhooks, which verifies signatures with the specification's own library.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::program::Program;

/// A server that other systems would run.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    address: SocketAddr,
    state: Arc<Received>,
}

#[derive(Debug)]
struct Received {
    status: AtomicU16,
    secret: Mutex<String>,
    events: Mutex<Vec<Value>>,
    contexts: Mutex<Vec<String>>,
}

impl Endpoint {
    /// Starts it, on a free port.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Received {
            status: AtomicU16::new(204),
            secret: Mutex::default(),
            events: Mutex::default(),
            contexts: Mutex::default(),
        });
        let routes = Router::new().route("/", post(receive)).with_state(Arc::clone(&state));
        TaskTracker::new().spawn(async move { axum::serve(listener, routes).await });
        Self { address, state }
    }

    /// Becomes an endpoint of the service. Returns its id there.
    pub(crate) async fn is_added_by(&self, program: &Program) -> String {
        let url = format!("http://{}/", self.address);
        let added = program.run(&["webhook", "add", &url]).await.succeeded().documents().remove(0);
        added["secret"].as_str().unwrap().clone_into(&mut self.state.secret.lock().unwrap());
        added["id"].as_str().unwrap().to_owned()
    }

    /// Answers with this status from now on. Only what it accepts counts as received.
    pub(crate) fn answer_with(&self, status: u16) {
        self.state.status.store(status, Ordering::SeqCst);
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

async fn receive(
    State(state): State<Arc<Received>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let status = StatusCode::from_u16(state.status.load(Ordering::SeqCst)).unwrap();
    let webhook = Webhook::new(&state.secret.lock().unwrap()).unwrap();
    if webhook.verify(&body, &headers).is_err() {
        return StatusCode::BAD_REQUEST;
    }
    if status.is_success() {
        let event: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(headers["webhook-id"].to_str().unwrap(), event["id"].as_str().unwrap());
        state.events.lock().unwrap().push(event);
        let context = headers.get("traceparent").map(|value| value.to_str().unwrap().to_owned());
        state.contexts.lock().unwrap().extend(context);
    }
    status
}
