//! The id of a request in the log: the client's if it is safe to log, else a new one.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderValue};

use crate::domain::ids::RequestId;
use crate::infrastructure::http::model::headers::REQUEST_ID;

/// Minimum number of digits in a new id.
const NUMBER_DIGITS: usize = 8;

/// Creates ids.
pub(crate) struct RequestIds {
    /// The start of every new id, different in each run of an instance.
    prefix: String,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new(prefix: String) -> Self {
        Self { prefix, next: AtomicU64::new(1) }
    }

    /// The client's id if it is safe to log, else a new one.
    pub(crate) fn id_of(&self, headers: &HeaderMap) -> HeaderValue {
        if let Some(id) = headers.get(REQUEST_ID).filter(|id| RequestId::is_safe(id.as_bytes())) {
            return id.clone();
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // One allocation that does not grow, because this runs for every request.
        let mut id = String::with_capacity(self.prefix.len() + "-".len() + NUMBER_DIGITS);
        let written = write!(id, "{}-{number:0NUMBER_DIGITS$x}", self.prefix);
        let id = written.ok().and_then(|()| HeaderValue::try_from(id).ok());
        id.unwrap_or(HeaderValue::from_static("unknown"))
    }
}
