//! A request of an operator, as handlers get it.

use std::sync::Arc;

use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri};
use sha2::{Digest, Sha256};

use crate::application::ports::{ApiKey, OperatorRequest};
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::error::{ApiError, Challenge, Scheme, ValidationErrors};
use crate::infrastructure::http::request::idempotency_key::optional_key;

/// The challenge to a request without a key.
pub(crate) const CHALLENGE: Challenge = Challenge::new(Scheme::ApiKey, None);

/// The key with which a request was sent. The gate puts it into the request.
#[derive(Clone)]
pub(crate) struct Operator(pub(crate) Arc<ApiKey>);

/// A request that has passed the gate.
pub(crate) struct Call {
    pub(crate) operator: Operator,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
}

impl Operator {
    /// Who it is, for the audit.
    pub(crate) fn name(&self) -> String {
        self.0.name.as_str().to_owned()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Call {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let operator = parts.extensions.get::<Operator>().cloned();
        let original = parts.extensions.get::<OriginalUri>();
        Ok(Self {
            operator: operator.ok_or(ApiError::Unauthorized(CHALLENGE))?,
            method: parts.method.clone(),
            uri: original.map_or_else(|| parts.uri.clone(), |OriginalUri(uri)| uri.clone()),
            headers: parts.headers.clone(),
        })
    }
}

impl Call {
    /// The request with its idempotency key, if it has one. The error of an invalid key is added to `errors`. Another body with the
    /// same key is another request.
    pub(crate) fn keyed(
        &self,
        body: &[u8],
        errors: &mut ValidationErrors,
    ) -> Option<OperatorRequest> {
        let key = optional_key(&self.headers, errors)?;
        let target = self.uri.path_and_query().map_or("/", |target| target.as_str());
        let mut content = Sha256::new();
        // A target has no line feed.
        for part in [self.method.as_str(), "\n", target, "\n"] {
            content.update(part);
        }
        content.update(body);
        let owner = self.operator.0.id.to_string();
        Some(OperatorRequest { owner, key, content: content.finalize().into() })
    }

    /// The request of a POST that needs no body, or of one without a key.
    pub(crate) fn keyed_without_body(&self) -> Result<Option<OperatorRequest>, ApiError> {
        let mut errors = ValidationErrors::new();
        let request = self.keyed(&[], &mut errors);
        if errors.is_empty() { Ok(request) } else { Err(ApiError::Validation(errors)) }
    }
}
