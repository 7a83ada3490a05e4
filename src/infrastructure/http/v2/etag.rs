//! Validators of what is read often (RFC 9110, section 8.8.3): whoever has it already is told so, in a few bytes.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};

/// Bytes of the hash that a validator shows.
const SHOWN: usize = 12;

/// Gives an answer its validator; an empty 304 where the client has the same.
pub(crate) async fn validated(asked: &HeaderMap, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    // It is in memory whole.
    let Ok(bytes) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    // Weak, because the same answer may be packed or not.
    let tag = format!("W/\"{}\"", BASE64.encode(&Sha256::digest(&bytes)[..SHOWN]));
    let is_known = has(asked, &tag);
    if let Ok(tag) = HeaderValue::try_from(tag) {
        parts.headers.insert(header::ETAG, tag);
    }
    // It may be kept, and must be asked about before it is shown.
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if is_known {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        // As the answer itself would say, if it is long enough to be packed (RFC 9110, section 15.4.5).
        parts.headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(bytes))
}

/// Whether `If-None-Match` names it, or anything at all: weak comparison (RFC 9110, section 13.1.2).
fn has<'t>(asked: &'t HeaderMap, tag: &'t str) -> bool {
    let named = asked.get_all(header::IF_NONE_MATCH).iter();
    named.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|known| {
        let known = known.trim();
        let opaque = |tag: &'t str| tag.strip_prefix("W/").unwrap_or(tag);
        known == "*" || opaque(known) == opaque(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_validator_is_known_in_any_form_that_the_standard_has() {
        for value in ["\"abc\"", "W/\"abc\"", "\"x\", \"abc\"", "*"] {
            assert!(has(&asked(value), "\"abc\""), "{value}");
        }
        for value in ["\"abcd\"", "abc", "", "W/abc"] {
            assert!(!has(&asked(value), "\"abc\""), "{value}");
        }
    }

    #[tokio::test]
    async fn the_same_bytes_have_the_same_validator_and_are_not_sent_twice() {
        let first = validated(&HeaderMap::new(), "hello".into_response()).await;
        let tag = first.headers()[header::ETAG].clone();
        let again = HeaderMap::from_iter([(header::IF_NONE_MATCH, tag.clone())]);

        let same = validated(&again, "hello".into_response()).await;
        let other = validated(&again, "bye".into_response()).await;

        assert_eq!(
            (same.status(), &same.headers()[header::ETAG]),
            (StatusCode::NOT_MODIFIED, &tag)
        );
        assert!(same.into_body().collect().await.unwrap().to_bytes().is_empty());
        assert_eq!(other.status(), StatusCode::OK);
    }
}
