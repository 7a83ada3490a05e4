//! The media types that a client accepts (RFC 9110, section 12.5.1).

use axum::http::{HeaderMap, header};

/// The media types in `Accept` with a weight above zero, and their weights. Other parameters are left out.
pub(crate) fn accepted(headers: &HeaderMap) -> impl Iterator<Item = (&str, f32)> {
    let values = headers.get_all(header::ACCEPT).iter();
    let entries = values.flat_map(|value| value.to_str().unwrap_or_default().split(','));
    entries.filter_map(|entry| {
        let mut parts = entry.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
        let weight = weight.unwrap_or(1.0);
        (!media_type.is_empty() && weight > 0.0).then_some((media_type, weight))
    })
}

/// Whether the client is a browser that shows a page: it names HTML, and does not prefer JSON. Wildcards name nothing.
pub(crate) fn prefers_html(headers: &HeaderMap) -> bool {
    let highest = |matches: fn(&str) -> bool| {
        let weights = accepted(headers).filter(|(media_type, _)| matches(media_type));
        weights.map(|(_, weight)| weight).fold(0.0, f32::max)
    };
    let html = highest(|media_type| media_type.eq_ignore_ascii_case("text/html"));
    html > 0.0 && html >= highest(is_json)
}

fn is_json(media_type: &str) -> bool {
    let subtype = media_type.rsplit(['/', '+']).next().unwrap_or_default();
    subtype.eq_ignore_ascii_case("json")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn browsers_prefer_html_and_clients_of_the_api_do_not() {
        for (accept, expected) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8", true),
            ("Text/HTML", true),
            ("text/html, application/json;q=0.9", true),
            ("application/json, text/html;q=0.5", false),
            ("application/problem+json, text/html;q=0.9", false),
            ("application/json, text/plain, */*", false),
            ("text/html;q=0, */*", false),
            ("*/*", false),
            ("text/*", false),
            ("", false),
        ] {
            let accept_value = HeaderValue::from_static(accept);
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept_value)]);
            assert_eq!(prefers_html(&headers), expected, "{accept}");
        }
        assert!(!prefers_html(&HeaderMap::new()));
    }
}
