//! Lets requests with an API key pass: reads with the scope `read`, changes with `operate`.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::Response;

use super::call::{CHALLENGE, Operator};
use super::state::AdminState;
use crate::application::api_keys::Verified;
use crate::domain::api_key::Scope;
use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::middleware::auth_metrics::{AuthKind, AuthOutcome};
use crate::infrastructure::http::model::headers::API_KEY;
use crate::infrastructure::http::model::version::Version;

/// Why a request may not pass.
struct Refused(AuthOutcome, ApiError);

/// Judges the key of a request, before its body is read.
pub(crate) async fn admit(
    State(admin): State<AdminState>,
    mut request: Request,
    next: Next,
) -> Response {
    let judged = judge(&admin, request.method(), request.headers()).await;
    let outcome =
        judged.as_ref().map_or_else(|Refused(outcome, _)| *outcome, |_| AuthOutcome::Accepted);
    admin.auth_metrics.count(AuthKind::ApiKey, outcome);
    match judged {
        Ok(operator) => {
            request.extensions_mut().insert(operator);
            next.run(request).await
        }
        Err(Refused(_, error)) => error.in_version(Version::Two),
    }
}

async fn judge(
    admin: &AdminState,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Operator, Refused> {
    let unauthorized = |outcome| Refused(outcome, ApiError::Unauthorized(CHALLENGE));
    let mut values = headers.get_all(API_KEY).iter();
    let presented = match (values.next(), values.next()) {
        (None, _) => return Err(unauthorized(AuthOutcome::Missing)),
        (Some(value), None) => value.to_str().unwrap_or_default(),
        (Some(_), Some(_)) => return Err(unauthorized(AuthOutcome::Invalid)),
    };
    let verified = admin.read(admin.verify.verify(presented)).await;
    let key = match verified.map_err(|error| Refused(AuthOutcome::Unavailable, error))? {
        Verified::Accepted(key) => key,
        Verified::Expired => return Err(unauthorized(AuthOutcome::Expired)),
        Verified::Unknown => return Err(unauthorized(AuthOutcome::Invalid)),
    };
    let is_read = method == Method::GET || method == Method::HEAD;
    let needed = if is_read { Scope::Read } else { Scope::Operate };
    if !key.scopes.contains(needed) {
        return Err(Refused(AuthOutcome::Forbidden, ApiError::Forbidden));
    }
    Ok(Operator(key))
}
