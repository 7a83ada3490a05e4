//! The access log. It contains failed requests with their cause and, if `log.requests` is `all`, the other requests too. The line of
//! a stream is written at its end.

use std::time::{Duration, Instant};

use axum::http::{HeaderValue, Method};
use axum::response::Response;

use super::log_budget::{LogBudget, LogLine};
use crate::application::ports::Causes;
use crate::config::Setting;
use crate::infrastructure::http::error::Cause;
use crate::infrastructure::http::model::at_end::AtEnd;

/// Writes one line a request.
pub(crate) struct AccessLog {
    all_requests: Setting<bool>,
    /// Bounds the lines of responses with status 503.
    unavailable: LogBudget,
}

/// A request that has a response.
pub(crate) struct CompletedRequest<'r> {
    pub(crate) id: &'r HeaderValue,
    pub(crate) method: &'r Method,
    pub(crate) route: &'r str,
    pub(crate) started: Instant,
    pub(crate) elapsed: Duration,
}

impl AccessLog {
    pub(crate) fn new(all_requests: Setting<bool>) -> Self {
        Self { all_requests, unavailable: LogBudget::new() }
    }

    /// Logs the request, and removes the cause from the response.
    pub(crate) fn write(&self, request: &CompletedRequest<'_>, response: &mut Response) {
        let status = response.status().as_u16();
        if status < 500 && !self.all_requests.get() {
            return;
        }
        if status < 500 {
            match response.extensions_mut().remove::<AtEnd>() {
                None => request.log(status),
                Some(end) => request.log_at(&end, status),
            }
            return;
        }
        let CompletedRequest { id, method, route, started, elapsed } = request;
        let elapsed_ms = elapsed.as_secs_f64() * 1_000.0;
        let request_id = id.to_str().unwrap_or_default();
        let cause = response.extensions_mut().remove::<Cause>();
        let cause = cause.map_or_else(String::new, |Cause(error)| Causes(&*error).to_string());
        if status != 503 {
            tracing::error!(request_id, %method, route, status, elapsed_ms, cause, "request failed");
            return;
        }
        let line = self.unavailable.spend(*started);
        if let LogLine::WriteAfter(left_out) = line {
            tracing::warn!(left_out, "requests not served that have no line of their own");
        }
        if line != LogLine::LeaveOut {
            tracing::warn!(request_id, %method, route, status, elapsed_ms, cause, "request not served");
        }
    }
}

impl CompletedRequest<'_> {
    fn log(&self, status: u16) {
        let Self { id, method, route, elapsed, .. } = self;
        let elapsed_ms = elapsed.as_secs_f64() * 1_000.0;
        let request_id = id.to_str().unwrap_or_default();
        tracing::info!(request_id, %method, route, status, elapsed_ms, "request");
    }

    /// Logs the request at the end of its response, with the time until then.
    fn log_at(&self, end: &AtEnd, status: u16) {
        let (id, method, route) = (self.id.clone(), self.method.clone(), self.route.to_owned());
        let started = self.started;
        end.set(move || {
            let (id, method, route, elapsed) = (&id, &method, &*route, started.elapsed());
            CompletedRequest { id, method, route, started, elapsed }.log(status);
        });
    }
}
