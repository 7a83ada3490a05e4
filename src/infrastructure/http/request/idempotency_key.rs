//! The header `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07).

use axum::http::HeaderMap;

use crate::application::ports::KeyedRequest;
use crate::domain::ids::IdempotencyKey;
use crate::infrastructure::http::error::{ApiError, ValidationErrors};
use crate::infrastructure::http::model::headers::IDEMPOTENCY_KEY;

const NAME: &str = "Idempotency-Key";

/// Reads the key of a request that must have one. The error of an invalid key is added to `errors`.
pub(crate) fn required_key(
    headers: &HeaderMap,
    errors: &mut ValidationErrors,
) -> Result<Option<IdempotencyKey>, ApiError> {
    if headers.contains_key(IDEMPOTENCY_KEY) {
        Ok(optional_key(headers, errors))
    } else {
        Err(ApiError::KeyMissing)
    }
}

/// Reads the key of a request that may have one. The error of an invalid key is added to `errors`.
pub(crate) fn optional_key(
    headers: &HeaderMap,
    errors: &mut ValidationErrors,
) -> Option<IdempotencyKey> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let value = values.next()?;
    let key = match values.next() {
        Some(_) => Err("must be given once".to_owned()),
        None => IdempotencyKey::parse(value.to_str().unwrap_or("\u{fffd}"))
            .map_err(|error| error.to_string()),
    };
    key.map_err(|error| errors.insert(NAME.into(), error)).ok()
}

/// A key with the content of its request. Different parts make different contents: no part can contain the separator, a control
/// character.
pub(crate) fn keyed_request(key: IdempotencyKey, parts: &[impl AsRef<str>]) -> KeyedRequest {
    KeyedRequest {
        key,
        content: parts.iter().map(AsRef::as_ref).collect::<Vec<_>>().join("\n").into(),
    }
}
