//! The header `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07).

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;

use super::{ApiError, Problem};
use crate::application::once::Once;
use crate::application::ports::KeyUse;
use crate::domain::ids::IdempotencyKey;
use crate::infrastructure::http::error::Faults;
use crate::infrastructure::http::purchase::REPLAYED;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const NAME: &str = "Idempotency-Key";

/// The key of a request that must have one; what is wrong with it is put to the other faults.
pub(crate) fn required(
    headers: &HeaderMap,
    faults: &mut Faults,
) -> Result<Option<IdempotencyKey>, ApiError> {
    if headers.contains_key(IDEMPOTENCY_KEY) {
        Ok(optional(headers, faults))
    } else {
        Err(ApiError::KeyMissing)
    }
}

/// The key of a request that may have one.
pub(crate) fn optional(headers: &HeaderMap, faults: &mut Faults) -> Option<IdempotencyKey> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let value = given.next()?;
    let key = match given.next() {
        Some(_) => Err("must be given once".to_owned()),
        None => IdempotencyKey::parse(value.to_str().unwrap_or("\u{fffd}"))
            .map_err(|fault| fault.to_string()),
    };
    key.map_err(|fault| faults.insert(NAME.into(), fault)).ok()
}

/// A key for a request that is told apart from others by these words, none of which can hold a control character.
pub(crate) fn used_for(key: IdempotencyKey, words: &[impl AsRef<str>]) -> KeyUse {
    KeyUse { key, content: words.iter().map(AsRef::as_ref).collect::<Vec<_>>().join("\n").into() }
}

/// The answer to a request that happens once.
pub(crate) fn answer<T>(
    once: Once<T>,
    respond: impl FnOnce(T) -> Result<Response, Problem>,
) -> Result<Response, Problem> {
    match once {
        Once::Now(done) => respond(done),
        Once::Before(done) => {
            let mut response = respond(done)?;
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
            Ok(response)
        }
        Once::InProgress => Err(ApiError::KeyInUse.into()),
        Once::OtherContent => Err(ApiError::KeyReused.into()),
        Once::UnknownCode => Err(ApiError::CodeNotFound.into()),
    }
}
