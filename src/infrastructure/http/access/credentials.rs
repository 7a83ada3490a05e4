//! What headers say of who sends a request.

use axum::http::{HeaderMap, HeaderName, header};

use crate::infrastructure::http::model::headers::API_KEY;

/// A header that says who sends the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Credential<'h> {
    Missing,
    Present(&'h str),
    /// It is given more than once, or not in the form that it must have.
    Malformed,
}

/// The token in `Authorization: Bearer …` (RFC 6750, section 2.1).
pub(super) fn bearer(headers: &HeaderMap) -> Credential<'_> {
    match single(headers, &header::AUTHORIZATION) {
        Credential::Present(value) => {
            let token = value.split_once(' ').filter(|(scheme, _)| is_bearer(scheme));
            match token.map(|(_, token)| token.trim()) {
                Some(token) if is_token(token) => Credential::Present(token),
                Some(_) => Credential::Malformed,
                // Another scheme, of a gateway perhaps: it does not say who the buyer is.
                None => Credential::Missing,
            }
        }
        other => other,
    }
}

/// The key in `X-Api-Key`.
pub(super) fn api_key(headers: &HeaderMap) -> Credential<'_> {
    single(headers, &API_KEY)
}

/// The only value of a header.
pub(super) fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Credential<'h> {
    let mut values = headers.get_all(name).iter();
    match (values.next().map(|value| value.to_str()), values.next()) {
        (None, _) => Credential::Missing,
        (Some(Ok(value)), None) if !value.is_empty() => Credential::Present(value),
        _ => Credential::Malformed,
    }
}

fn is_bearer(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("bearer")
}

/// Whether it consists of the characters of a token.
fn is_token(text: &str) -> bool {
    let is_part = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
    };
    !text.is_empty() && text.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let value = |value: &&str| HeaderValue::from_str(value).unwrap();
        values.iter().map(|it| (header::AUTHORIZATION, value(it))).collect()
    }

    #[test]
    fn a_bearer_token_is_read_in_any_case_and_only_once() {
        assert_eq!(bearer(&headers(&["Bearer a.b.c"])), Credential::Present("a.b.c"));
        assert_eq!(bearer(&headers(&["bearer  a.b.c "])), Credential::Present("a.b.c"));
        assert_eq!(bearer(&headers(&[])), Credential::Missing);
        assert_eq!(bearer(&headers(&["Basic YTpi"])), Credential::Missing);
        assert_eq!(bearer(&headers(&["Bearer"])), Credential::Missing);
        for malformed in
            [&["Bearer "][..], &["Bearer a b"], &["Bearer é"], &["Bearer a", "Bearer b"], &[""]]
        {
            assert_eq!(bearer(&headers(malformed)), Credential::Malformed, "{malformed:?}");
        }
    }
}
