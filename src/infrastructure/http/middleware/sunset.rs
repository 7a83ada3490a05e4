//! Headers that announce the end of version 1: `Deprecation` (RFC 9745), `Sunset` (RFC 8594), and a link to details.

use axum::http::{HeaderName, HeaderValue, header};

use crate::config::SunsetConfig;
use crate::infrastructure::http::model::headers::{DEPRECATION, SUNSET};

/// An HTTP date (RFC 9110, section 5.6.7).
const HTTP_DATE: &str = "%a, %d %b %Y %H:%M:%S GMT";

/// The headers; empty if no end is planned.
pub(crate) fn announcement(config: &SunsetConfig) -> Vec<(HeaderName, HeaderValue)> {
    let deprecated = config.deprecated_at.map(|at| (DEPRECATION, format!("@{}", at.timestamp())));
    let sunset = config.sunset_at.map(|at| (SUNSET, at.format(HTTP_DATE).to_string()));
    let link = config
        .link
        .as_ref()
        .map(|link| (header::LINK, format!("<{link}>; rel=\"deprecation\"; type=\"text/html\"")));
    let headers = [deprecated, sunset, link].into_iter().flatten();
    // The configuration has validated the values.
    headers.filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use chrono::{TimeZone, Utc};

    use super::*;

    #[test]
    fn the_headers_have_the_formats_of_their_standards() {
        let config = SunsetConfig {
            deprecated_at: Some(Utc.with_ymd_and_hms(2027, 1, 1, 0, 0, 0).unwrap()),
            sunset_at: Some(Utc.with_ymd_and_hms(2027, 7, 1, 12, 30, 0).unwrap()),
            link: Some("https://shop.example.com/v1".to_owned()),
        };
        let headers: Vec<_> = announcement(&config)
            .into_iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();

        let expected = [
            ("deprecation", "@1798761600"),
            ("sunset", "Thu, 01 Jul 2027 12:30:00 GMT"),
            ("link", "<https://shop.example.com/v1>; rel=\"deprecation\"; type=\"text/html\""),
        ];
        assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(announcement(&SunsetConfig::default()).is_empty());
    }
}
