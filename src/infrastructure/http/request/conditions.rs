//! Conditional writes (RFC 9110, section 13.1).

use axum::http::{HeaderMap, HeaderValue, header};

use crate::infrastructure::http::error::ApiError;

/// Refuses a write with a condition, where the request names no checkout: no condition but `If-Match: *` can hold.
pub(crate) fn refuse_conditions(headers: &HeaderMap) -> Result<(), ApiError> {
    let names_validator = |value: &HeaderValue| value != "*";
    let cannot_hold = headers.get_all(header::IF_MATCH).iter().any(names_validator)
        || headers.contains_key(header::IF_NONE_MATCH);
    if cannot_hold { Err(ApiError::PreconditionFailed) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_with_a_condition_that_cannot_hold_is_refused() {
        let with = |name, value| HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);

        assert!(refuse_conditions(&HeaderMap::new()).is_ok());
        assert!(refuse_conditions(&with(header::IF_MATCH, "*")).is_ok());
        assert!(refuse_conditions(&with(header::IF_MATCH, "\"a\"")).is_err());
        assert!(refuse_conditions(&with(header::IF_NONE_MATCH, "*")).is_err());
    }
}
