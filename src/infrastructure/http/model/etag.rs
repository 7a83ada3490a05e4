//! Entity tags (RFC 9110, section 8.8.3): a client that has the current response already gets an empty 304.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};

/// Bytes of the hash in a tag.
const HASH_BYTES: usize = 12;

/// Adds the `ETag` of the response, or replaces it by an empty 304 if `request_headers` contain that tag.
pub(crate) async fn with_etag(request_headers: &HeaderMap, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    // The whole body is in memory: reading it cannot fail.
    let Ok(bytes) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let tag = tag_of(&bytes);
    let is_current = contains_tag(request_headers, &tag);
    if let Ok(tag) = HeaderValue::try_from(tag) {
        parts.headers.insert(header::ETAG, tag);
    }
    // A cache may store the response, and must revalidate it before each use.
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let response = Response::from_parts(parts, Body::from(bytes));
    if is_current { not_modified(response) } else { response }
}

/// The tag of a body. Weak, because the bytes differ if the response is compressed.
pub(crate) fn tag_of(body: &[u8]) -> String {
    format!("W/\"{}\"", BASE64.encode(&Sha256::digest(body)[..HASH_BYTES]))
}

/// The empty 304 in place of a response that the client has already.
pub(crate) fn not_modified(response: Response) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.status = StatusCode::NOT_MODIFIED;
    parts.headers.remove(header::CONTENT_TYPE);
    parts.headers.remove(header::CONTENT_LENGTH);
    // The 200 has it if it is long enough to be compressed, and a 304 must have it then (RFC 9110, section 15.4.5).
    parts.headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    Response::from_parts(parts, Body::empty())
}

/// Whether the client has the response with this tag already.
pub(crate) fn if_none_match(request_headers: &HeaderMap, tag: &HeaderValue) -> bool {
    tag.to_str().is_ok_and(|tag| contains_tag(request_headers, tag))
}

/// Whether `If-None-Match` contains the tag or `*`, by weak comparison (RFC 9110, section 13.1.2).
fn contains_tag<'t>(request_headers: &'t HeaderMap, tag: &'t str) -> bool {
    let values = request_headers.get_all(header::IF_NONE_MATCH).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|known| {
        let known = known.trim();
        let opaque = |tag: &'t str| tag.strip_prefix("W/").unwrap_or(tag);
        known == "*" || opaque(known) == opaque(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn if_none_match(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_tag_is_found_in_every_form_of_the_standard() {
        for value in ["\"abc\"", "W/\"abc\"", "\"x\", \"abc\"", "*"] {
            assert!(contains_tag(&if_none_match(value), "\"abc\""), "{value}");
        }
        for value in ["\"abcd\"", "abc", "", "W/abc"] {
            assert!(!contains_tag(&if_none_match(value), "\"abc\""), "{value}");
        }
    }

    #[tokio::test]
    async fn the_same_bytes_have_the_same_tag_and_are_not_sent_again() {
        let first = with_etag(&HeaderMap::new(), "hello".into_response()).await;
        let tag = first.headers()[header::ETAG].clone();
        let again = HeaderMap::from_iter([(header::IF_NONE_MATCH, tag.clone())]);

        let same = with_etag(&again, "hello".into_response()).await;
        let other = with_etag(&again, "bye".into_response()).await;

        assert_eq!(
            (same.status(), &same.headers()[header::ETAG]),
            (StatusCode::NOT_MODIFIED, &tag)
        );
        assert!(same.into_body().collect().await.unwrap().to_bytes().is_empty());
        assert_eq!(other.status(), StatusCode::OK);
    }
}
