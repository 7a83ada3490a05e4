//! Entity tags of checkouts (RFC 9110, sections 8.8.3 and 13.1): a client changes or buys only what it has seen.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use crate::application::idempotency::{CheckoutStatus, CheckoutView};
use crate::domain::terms::CheckoutTag;
use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::model::checkout::Checkout;
use crate::infrastructure::http::model::etag::{if_none_match, not_modified};

/// Ends the tag of an open checkout. The state is part of the tag because it is part of the response.
const OPEN: &str = ".open";

/// The checkout with its `ETag`.
pub(crate) fn tagged(view: CheckoutView) -> Response {
    let tag = text(&view);
    let mut response = Json(Checkout::from(view)).into_response();
    response.headers_mut().extend(tag.map(|tag| (header::ETAG, tag)));
    response
}

/// The checkout with its `ETag`, or an empty 304 if `request_headers` contain that tag.
pub(crate) fn tagged_unless_known(request_headers: &HeaderMap, view: CheckoutView) -> Response {
    let is_known = text(&view).is_some_and(|tag| if_none_match(request_headers, &tag));
    let response = tagged(view);
    if is_known { not_modified(response) } else { response }
}

fn text(view: &CheckoutView) -> Option<HeaderValue> {
    let state = match view.status {
        CheckoutStatus::Open => OPEN,
        CheckoutStatus::Purchased => ".purchased",
        CheckoutStatus::Closed => ".closed",
    };
    HeaderValue::try_from(format!("\"{}{state}\"", BASE64.encode(view.tag.as_bytes()))).ok()
}

/// The tags of `If-Match`, one of which the checkout must have; `None` without the header, or for `*`, which every checkout matches.
/// `If-None-Match` cannot hold: the checkout exists.
pub(crate) fn required_tags(headers: &HeaderMap) -> Result<Option<Vec<CheckoutTag>>, ApiError> {
    if headers.contains_key(header::IF_NONE_MATCH) {
        return Err(ApiError::PreconditionFailed);
    }
    let mut values = headers.get_all(header::IF_MATCH).iter().peekable();
    if values.peek().is_none() {
        return Ok(None);
    }
    let listed = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let listed: Vec<&str> = listed.map(str::trim).collect();
    if listed.contains(&"*") {
        return Ok(None);
    }
    Ok(Some(listed.into_iter().filter_map(parse).collect()))
}

/// The tag of an open checkout; no other can be changed or bought. A weak tag counts as a strong one: proxies that compress a response
/// weaken its tag, and this tag stands for the checkout and not for the bytes of a response.
fn parse(text: &str) -> Option<CheckoutTag> {
    let opaque = text.strip_prefix("W/").unwrap_or(text).strip_prefix('"')?.strip_suffix('"')?;
    let bytes = BASE64.decode(opaque.strip_suffix(OPEN)?).ok()?;
    Some(CheckoutTag::from_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(value: &str) -> Option<Vec<CheckoutTag>> {
        let value = HeaderValue::from_str(value).unwrap();
        required_tags(&HeaderMap::from_iter([(header::IF_MATCH, value)])).unwrap()
    }

    #[test]
    fn the_tag_of_a_response_is_read_from_a_condition_in_every_form() {
        let tag = CheckoutTag::of(&[]);
        let text = format!("\"{}.open\"", BASE64.encode(tag.as_bytes()));

        for form in [text.clone(), format!("W/{text}"), format!("\"x\", {text}")] {
            assert_eq!(tags(&form), Some(vec![tag]), "{form}");
        }
    }

    #[test]
    fn a_condition_without_a_tag_of_an_open_checkout_cannot_hold() {
        let purchased = format!("\"{}.purchased\"", BASE64.encode(CheckoutTag::of(&[]).as_bytes()));
        for other in [purchased.as_str(), "\"\"", "", "\"a", "\"AAAA.open\""] {
            assert_eq!(tags(other), Some(Vec::new()), "{other}");
        }
    }

    #[test]
    fn without_a_condition_and_with_a_star_every_checkout_will_do() {
        assert_eq!(required_tags(&HeaderMap::new()).unwrap(), None);
        assert_eq!(tags("*"), None);
    }

    #[test]
    fn a_condition_that_there_is_no_checkout_fails() {
        let star = HeaderValue::from_static("*");
        let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, star)]);

        assert!(required_tags(&headers).is_err());
    }
}
