//! The requested version: that of the path (`/v2/…`), else of the header `Api-Version`, else of a media type in `Accept`
//! (`application/vnd.flash-sale.v2+json`), else version 1.

use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, Request, Uri};

use super::accept::{accepted, prefers_html};
use crate::infrastructure::http::model::headers::API_VERSION;
use crate::infrastructure::http::model::paths;
use crate::infrastructure::http::model::version::Version;

/// What stands before the version in this API's media types.
const MEDIA_TYPE_PREFIX: &str = "application/vnd.flash-sale.v";
/// What stands after the version in this API's media types.
const MEDIA_TYPE_SUFFIX: &str = "+json";

/// The version that a request is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RequestedVersion {
    pub(crate) version: Version,
    pub(crate) source: VersionSource,
}

/// What determines the version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum VersionSource {
    /// The path. Headers are ignored then.
    Path,
    /// Headers, or the default if they name no version.
    #[default]
    Headers,
    /// Nothing: the path is the same in all versions.
    Unversioned,
}

/// Why a request is for no version of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnknownVersion {
    /// The version does not exist.
    Unsupported,
    /// The request has more than one `Api-Version`.
    Repeated,
}

impl RequestedVersion {
    /// The version that [`route_by_version`] has found.
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        request.extensions().get().copied().unwrap_or_default()
    }
}

/// Finds the version that a request is for.
fn requested<B>(request: &Request<B>) -> Result<RequestedVersion, UnknownVersion> {
    let path = request.uri().path();
    if let Some(number) = number_in_path(path) {
        let version = parse_number(number)?;
        return Ok(RequestedVersion { version, source: VersionSource::Path });
    }
    let is_start_page = path == paths::START && prefers_html(request.headers());
    if is_start_page || paths::is_unversioned(path) {
        let version = Version::default();
        return Ok(RequestedVersion { version, source: VersionSource::Unversioned });
    }
    let version = match from_api_version(request.headers())? {
        Some(version) => Some(version),
        None => from_accept(request.headers())?,
    };
    let version = version.unwrap_or_default();
    Ok(RequestedVersion { version, source: VersionSource::Headers })
}

/// Adds the version of the headers to the path, by which the router selects the handler. Stores the version, or why there is
/// none, in the request's extensions.
pub(crate) fn route_by_version<B>(request: &mut Request<B>) {
    match requested(request) {
        Ok(requested) => {
            if requested.source == VersionSource::Headers
                && requested.version != Version::One
                && let Some(uri) = with_version(request.uri(), requested.version)
            {
                *request.uri_mut() = uri;
            }
            request.extensions_mut().insert(requested);
        }
        Err(unknown) => {
            request.extensions_mut().insert(unknown);
        }
    }
}

/// Whether an `Accept` may name a version. False positives are allowed: they only cost the fast path.
pub(crate) fn may_name_version(accept: &HeaderValue) -> bool {
    let prefix = MEDIA_TYPE_PREFIX.as_bytes();
    accept.as_bytes().windows(prefix.len()).any(|bytes| bytes == prefix)
}

fn parse_number(number: &str) -> Result<Version, UnknownVersion> {
    Version::numbered(number).ok_or(UnknownVersion::Unsupported)
}

fn with_version(uri: &Uri, version: Version) -> Option<Uri> {
    let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("/v{}{target}", version.as_str()).parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// The digits in a path that starts with `/v` and digits.
fn number_in_path(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/v")?;
    let number = rest.split('/').next()?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(number)
}

fn from_api_version(headers: &HeaderMap) -> Result<Option<Version>, UnknownVersion> {
    let mut values = headers.get_all(API_VERSION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(UnknownVersion::Repeated);
    }
    let number = value.to_str().map_err(|_| UnknownVersion::Unsupported)?;
    parse_number(number.trim()).map(Some)
}

/// The version with the highest weight; the first one of equal weights. An unknown version is an error only if the client accepts
/// nothing else.
fn from_accept(headers: &HeaderMap) -> Result<Option<Version>, UnknownVersion> {
    let (mut best, mut has_unknown, mut has_others) = (None, false, false);
    for (media_type, weight) in accepted(headers) {
        match number_in_media_type(media_type).map(parse_number) {
            Some(Ok(version)) if best.is_none_or(|(highest, _)| weight > highest) => {
                best = Some((weight, version));
            }
            Some(Ok(_)) => {}
            Some(Err(_)) => has_unknown = true,
            None => has_others = true,
        }
    }
    match best {
        Some((_, version)) => Ok(Some(version)),
        None if has_unknown && !has_others => Err(UnknownVersion::Unsupported),
        None => Ok(None),
    }
}

/// The number in a media type of this API, in any case.
fn number_in_media_type(media_type: &str) -> Option<&str> {
    let (prefix, rest) = media_type.split_at_checked(MEDIA_TYPE_PREFIX.len())?;
    let (number, suffix) =
        rest.split_at_checked(rest.len().checked_sub(MEDIA_TYPE_SUFFIX.len())?)?;
    let is_own = prefix.eq_ignore_ascii_case(MEDIA_TYPE_PREFIX)
        && suffix.eq_ignore_ascii_case(MEDIA_TYPE_SUFFIX);
    is_own.then_some(number)
}

#[cfg(test)]
mod tests {
    use axum::http::header;
    use proptest::prelude::*;

    use super::*;

    fn version_of(
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<(&'static str, VersionSource), UnknownVersion> {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let requested = requested(&request.body(()).unwrap())?;
        Ok((requested.version.as_str(), requested.source))
    }

    const UNSUPPORTED: Result<(&str, VersionSource), UnknownVersion> =
        Err(UnknownVersion::Unsupported);

    #[test]
    fn the_path_wins_then_the_header_then_the_media_type() {
        let two = ("api-version", "2");
        let one = ("accept", "application/vnd.flash-sale.v1+json");
        assert_eq!(version_of("/v1/checkout", &[two]), Ok(("1", VersionSource::Path)));
        assert_eq!(
            version_of("/v2/sales", &[("api-version", "9")]),
            Ok(("2", VersionSource::Path))
        );
        assert_eq!(version_of("/sales/active", &[two, one]), Ok(("2", VersionSource::Headers)));
        let media_type = ("accept", "text/html, application/VND.flash-sale.v2+JSON; q=0.9");
        assert_eq!(version_of("/sales/active", &[media_type]), Ok(("2", VersionSource::Headers)));
        assert_eq!(
            version_of("/sales/active", &[("accept", "*/*")]),
            Ok(("1", VersionSource::Headers))
        );
        assert_eq!(version_of("/vouchers", &[]), Ok(("1", VersionSource::Headers)));
    }

    #[test]
    fn an_unknown_version_is_refused_in_the_path_and_in_headers() {
        for path in ["/v0", "/v3/sales", "/v01/sales", "/v99999999999999999999/x"] {
            assert_eq!(version_of(path, &[]), UNSUPPORTED, "{path}");
        }
        for value in ["3", "", "two", "2.0", "é"] {
            let version = version_of("/sales", &[("api-version", value)]);
            assert_eq!(version, UNSUPPORTED, "{value}");
        }
        let nine = "application/vnd.flash-sale.v9+json";
        assert_eq!(version_of("/sales", &[("accept", nine)]), UNSUPPORTED);
        let or_any = format!("{nine}, */*;q=0.1");
        assert_eq!(version_of("/sales", &[("accept", &or_any)]), Ok(("1", VersionSource::Headers)));
        let with_empty_entry = format!("{nine},");
        assert_eq!(version_of("/sales", &[("accept", &with_empty_entry)]), UNSUPPORTED);
        let twice = [("api-version", "1"), ("api-version", "2")];
        assert_eq!(version_of("/sales", &twice), Err(UnknownVersion::Repeated));
    }

    #[test]
    fn of_several_media_types_the_one_with_the_highest_weight_wins() {
        let media_type =
            |number, weight| format!("application/vnd.flash-sale.v{number}+json;q={weight}");
        for (accept, expected) in [
            (format!("{}, {}", media_type(2, "0.1"), media_type(1, "0.9")), "1"),
            (format!("{}, {}", media_type(2, "0.5"), media_type(1, "0.5")), "2"),
            (format!("{}, application/json", media_type(2, "0")), "1"),
        ] {
            let version = version_of("/sales", &[("accept", &accept)]);
            assert_eq!(version, Ok((expected, VersionSource::Headers)), "{accept}");
        }
    }

    #[test]
    fn paths_without_a_version_ignore_the_requested_version() {
        for path in ["/health", "/metrics", "/problems/", "/problems/sale_not_found"] {
            for number in ["1", "2", "9"] {
                let version = version_of(path, &[("api-version", number)]);
                assert_eq!(version, Ok(("1", VersionSource::Unversioned)), "{path} {number}");
            }
        }
    }

    #[test]
    fn only_browsers_get_a_start_page_without_a_version() {
        let html = ("accept", "text/html, */*;q=0.8");
        assert_eq!(version_of("/", &[html]), Ok(("1", VersionSource::Unversioned)));
        assert_eq!(version_of("/", &[]), Ok(("1", VersionSource::Headers)));
        assert_eq!(version_of("/", &[("api-version", "2")]), Ok(("2", VersionSource::Headers)));
        assert_eq!(version_of("/sales", &[html]), Ok(("1", VersionSource::Headers)));
    }

    #[test]
    fn the_version_of_the_headers_is_added_to_the_path() {
        let request = Request::builder().uri("/sales/S-1?limit=5").header(API_VERSION, "2");
        let mut request = request.body(()).unwrap();

        route_by_version(&mut request);

        assert_eq!(request.uri(), "/v2/sales/S-1?limit=5");
        assert_eq!(RequestedVersion::of(&request).version, Version::Two);
    }

    proptest! {
        #[test]
        fn no_header_causes_a_panic(value in "\\PC{0,60}", length in 0..40_usize) {
            let text: String = "application/vnd.flash-sale.v2+json".chars().take(length).collect();
            if let Ok(value) = HeaderValue::from_str(&format!("{text}{value}")) {
                let mut headers = HeaderMap::new();
                headers.insert(header::ACCEPT, value.clone());
                headers.insert(API_VERSION, value);
                let _ = (from_api_version(&headers), from_accept(&headers));
            }
        }
    }
}
