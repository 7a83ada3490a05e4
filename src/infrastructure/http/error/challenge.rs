//! What a client needs to know of a request that was not let in.

use std::fmt::Write;

use axum::http::HeaderValue;

/// How a client can say who sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// A token (RFC 6750).
    Bearer,
    /// The key of a service.
    ApiKey,
    /// A signature.
    Signature,
}

/// Asks a client to say who sends the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Challenge {
    scheme: Scheme,
    /// What is wrong with what it has said; `None` if it has said nothing.
    pub(super) detail: Option<&'static str>,
}

impl Challenge {
    pub(crate) const fn new(scheme: Scheme, detail: Option<&'static str>) -> Self {
        Self { scheme, detail }
    }

    /// The value of `WWW-Authenticate` (RFC 9110, section 11.6.1; for tokens RFC 6750, section 3).
    pub(super) fn header(self) -> Option<HeaderValue> {
        let (challenge, code) = match self.scheme {
            Scheme::Bearer => ("Bearer realm=\"flash-sale\"", "invalid_token"),
            Scheme::ApiKey => ("ApiKey realm=\"flash-sale\", header=\"X-Api-Key\"", "invalid_key"),
            Scheme::Signature => ("Signature realm=\"flash-sale\"", "invalid_signature"),
        };
        let mut challenge = challenge.to_owned();
        if let Some(detail) = self.detail {
            let _ = write!(challenge, ", error=\"{code}\", error_description=\"{detail}\"");
        }
        HeaderValue::try_from(challenge).ok()
    }
}

/// A rate limit is reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RateLimited {
    /// What is counted.
    pub(crate) by: &'static str,
    /// Seconds until the request would be within its limit.
    pub(crate) retry_after: u64,
}

impl RateLimited {
    pub(super) fn detail(self) -> &'static str {
        match self.by {
            "buyer" => "the limit of one buyer is reached",
            "address" => "the limit of one address is reached",
            "route" => "the limit of this route, for all clients together, is reached",
            _ => "the limit of one API key is reached",
        }
    }
}
