//! Why the service cannot start, or did not stop in order.

use std::io;

use crate::infrastructure::cache::InvalidRedis;
use crate::infrastructure::http::{InvalidTls, UnknownRoute};
use crate::infrastructure::jobs::NoHandler;
use crate::infrastructure::monitoring::InvalidLog;
use crate::infrastructure::nats::InvalidNats;
use crate::infrastructure::otlp::TraceError;
use crate::infrastructure::persistence::{
    CellError, ConnectError, InvalidReplicas, RequirementError, SchemaError,
};
use crate::infrastructure::signing::TagClash;
use crate::infrastructure::tokens::InvalidTokens;
use crate::infrastructure::webhooks::InvalidRoots;

/// The service cannot start, or did not stop in order.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppError {
    #[error(transparent)]
    Log(#[from] InvalidLog),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Replicas(#[from] InvalidReplicas),
    #[error(transparent)]
    Requirement(#[from] RequirementError),
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error(transparent)]
    Cell(#[from] CellError),
    #[error(transparent)]
    Redis(#[from] InvalidRedis),
    #[error(transparent)]
    Nats(#[from] InvalidNats),
    #[error(transparent)]
    Traces(#[from] TraceError),
    #[error(transparent)]
    Keys(#[from] TagClash),
    #[error(transparent)]
    Workers(#[from] NoHandler),
    #[error("cannot set up the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("http.tls: {0}")]
    Tls(#[from] InvalidTls),
    #[error(transparent)]
    Tokens(#[from] InvalidTokens),
    #[error(transparent)]
    Webhooks(#[from] InvalidRoots),
    #[error(transparent)]
    UnknownRoute(#[from] UnknownRoute),
    #[error("cannot listen on {0}: {1}")]
    Listen(String, #[source] io::Error),
    #[error("cannot listen for signals: {0}")]
    Signals(#[from] io::Error),
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    #[error("stopped at once by a second signal: running requests may be unfinished")]
    Aborted,
    #[error("not every accepted request was finished within shutdown.drain")]
    DrainTimedOut,
}
