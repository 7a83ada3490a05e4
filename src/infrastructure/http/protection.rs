//! Headers with which browsers protect their users: told with every answer, as the OWASP REST Security Cheat Sheet has them.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

/// An answer is data: nothing in it is run, and no page may frame it.
const OF_DATA: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
/// Pages bring their own style, and talk to this service alone.
const OF_PAGES: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
);
/// Browsers that were here over TLS come back over TLS, for a year (RFC 6797).
const A_YEAR: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// What every answer is protected with.
#[inline]
pub(crate) fn protect(headers: &mut HeaderMap, is_encrypted: bool) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // What belongs to a buyer is kept nowhere on the way. What may be kept, lists and pages, says so itself, and pages say
    // what may run in them.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(OF_DATA);
    if is_encrypted {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, A_YEAR);
    }
}

/// What pages for people need besides.
pub(crate) async fn page(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, OF_PAGES);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    response
}
