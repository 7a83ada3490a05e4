//! A request to a batch: batches mix requests with and without idempotency keys.

use crate::application::ports::{KeyedRequest, PortError};

/// A request that may have a key. The batch's reply to it is `None` if the key was used before.
#[derive(Debug, Clone)]
pub(crate) struct MaybeKeyed<R> {
    pub(crate) request: R,
    pub(crate) key: Option<KeyedRequest>,
}

impl<R> MaybeKeyed<R> {
    pub(crate) fn keyed(request: R, key: KeyedRequest) -> Self {
        Self { request, key: Some(key) }
    }

    pub(crate) fn unkeyed(request: R) -> Self {
        Self { request, key: None }
    }
}

/// The answer to a request without a key. Its reply cannot be `None`.
pub(crate) fn unkeyed_answer<T>(what: &'static str, reply: Option<T>) -> Result<T, PortError> {
    let source = "a request without a key has the reply of a repeat";
    reply.ok_or_else(|| PortError::Broken { what, source: source.into() })
}
