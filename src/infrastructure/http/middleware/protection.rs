//! Response headers that make browsers protect their users, after the OWASP REST Security Cheat Sheet.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

/// Policy of API responses: they are data, so nothing in them is executed, and no page may frame them.
const API_POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
/// Policy of pages: they load from this service and connect to it, and to nothing else. Swagger UI has pictures in its style.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
);
/// Policy of the shop page, which shows pictures of items from any server, over HTTPS, and turns no text into markup.
const SHOP_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https: data:; connect-src 'self'; \
     frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; \
     trusted-types 'none'",
);
/// For a year, browsers that have connected over TLS connect only over TLS (RFC 6797).
const HSTS_ONE_YEAR: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Adds the headers of every response.
#[inline]
pub(crate) fn protect(headers: &mut HeaderMap, is_encrypted: bool) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // No cache stores responses about a buyer. Lists and pages have set their own cache control before this runs, and pages their
    // own policy.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(API_POLICY);
    if is_encrypted {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HSTS_ONE_YEAR);
    }
}

/// Adds the headers of pages.
pub(crate) async fn protect_page(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    response
}

/// Adds the headers of the shop page.
pub(crate) async fn protect_shop(response: Response) -> Response {
    let mut response = protect_page(response).await;
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, SHOP_POLICY);
    response
}
