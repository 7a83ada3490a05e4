//! Responses to requests that may have an idempotency key.

use axum::http::HeaderValue;
use axum::response::Response;

use crate::application::ports::Keyed;
use crate::infrastructure::http::access::caller::Caller;
use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::model::headers::IDEMPOTENT_REPLAYED;

/// Responds with `respond`. The response to a repeated request gets the header `Idempotent-Replayed`.
pub(crate) fn keyed_response<T>(
    keyed: Keyed<T>,
    caller: &Caller,
    respond: impl FnOnce(T) -> Result<Response, Problem>,
) -> Result<Response, Problem> {
    match keyed {
        Keyed::New(result) => respond(result),
        Keyed::Replayed(result) => {
            let mut response = respond(result)?;
            response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
            Ok(response)
        }
        Keyed::InProgress => Err(ApiError::KeyInUse.into()),
        Keyed::ContentMismatch => Err(ApiError::KeyReused.into()),
        Keyed::UnknownCode => Err(ApiError::CodeNotFound.into()),
        Keyed::OtherBuyer => Err(caller.not_theirs().into()),
    }
}
