//! Which version of the API a request is for: its path says so (`/v2/…`), else the header `Api-Version`, else a media type that
//! it accepts (`application/vnd.flash-sale.v2+json`), else it is version 1.

use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header};

use super::error::ApiError;

/// Names a request's version, and every answer's.
pub(super) const API_VERSION: HeaderName = HeaderName::from_static("api-version");
/// What answers to paths without a version depend on.
pub(super) const VARIES_BY: HeaderValue = HeaderValue::from_static("api-version, accept");
/// Media types of this API are between these.
const MEDIA_TYPE: (&str, &str) = ("application/vnd.flash-sale.v", "+json");

/// A version that exists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Version {
    /// The first.
    #[default]
    One,
    /// The second.
    Two,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) version: Version,
    /// Whether its path says so. Then nothing else is looked at.
    pub(super) by_path: bool,
}

impl Version {
    /// Those that exist, in words.
    pub(super) const NAMES: [&str; 2] = ["1", "2"];

    /// Its number.
    pub(super) fn as_str(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// Its number, as a header's value.
    pub(super) fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.as_str())
    }

    /// The version in which an answer to this request is to be.
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        Asked::by(request).version
    }

    fn numbered(number: &str) -> Result<Self, ApiError> {
        match number {
            "1" => Ok(Self::One),
            "2" => Ok(Self::Two),
            _ => Err(ApiError::UnsupportedVersion),
        }
    }
}

impl Asked {
    /// As it was found when the request came in.
    pub(super) fn by<B>(request: &Request<B>) -> Self {
        request.extensions().get().copied().unwrap_or_default()
    }
}

/// What a request asks for; an error if that does not exist.
pub(super) fn asked_for<B>(request: &Request<B>) -> Result<Asked, ApiError> {
    if let Some(number) = number_in(request.uri().path()) {
        return Ok(Asked { version: Version::numbered(number)?, by_path: true });
    }
    let by_header = match by_header(request.headers())? {
        Some(version) => Some(version),
        None => by_media_type(request.headers())?,
    };
    Ok(Asked { version: by_header.unwrap_or_default(), by_path: false })
}

/// Puts the version before a path that has none, and notes it for whoever answers.
pub(super) fn lead<B>(asked: Asked, request: &mut Request<B>) {
    if !asked.by_path
        && asked.version != Version::One
        && let Some(uri) = versioned(request.uri(), asked.version)
    {
        *request.uri_mut() = uri;
    }
    request.extensions_mut().insert(asked);
}

fn versioned(uri: &Uri, version: Version) -> Option<Uri> {
    let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("/v{}{target}", version.as_str()).parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// The digits of a path that begins with `/v` and digits.
fn number_in(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/v")?;
    let number = rest.split('/').next()?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(number)
}

fn by_header(headers: &HeaderMap) -> Result<Option<Version>, ApiError> {
    let mut given = headers.get_all(API_VERSION).iter();
    let Some(value) = given.next() else {
        return Ok(None);
    };
    if given.next().is_some() {
        return Err(ApiError::invalid("Api-Version", "must be given once"));
    }
    let number = value.to_str().map_err(|_| ApiError::UnsupportedVersion)?;
    Version::numbered(number.trim()).map(Some)
}

/// The first version that is accepted and exists. One that does not exist is an error only where nothing else is accepted.
fn by_media_type(headers: &HeaderMap) -> Result<Option<Version>, ApiError> {
    let (mut unknown, mut others) = (false, false);
    for value in headers.get_all(header::ACCEPT) {
        for accepted in value.to_str().unwrap_or_default().split(',') {
            let media_type = accepted.split(';').next().unwrap_or_default().trim();
            match number_of(media_type).map(Version::numbered) {
                Some(Ok(version)) => return Ok(Some(version)),
                Some(Err(_)) => unknown = true,
                None => others = true,
            }
        }
    }
    if unknown && !others { Err(ApiError::UnsupportedVersion) } else { Ok(None) }
}

fn number_of(media_type: &str) -> Option<&str> {
    let (begin, end) = MEDIA_TYPE;
    let head = media_type.get(..begin.len())?;
    let number = media_type.get(begin.len()..)?;
    let number = number.get(..number.len().checked_sub(end.len())?)?;
    let tail = media_type.get(media_type.len() - end.len()..)?;
    (head.eq_ignore_ascii_case(begin) && tail.eq_ignore_ascii_case(end)).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(path: &str, headers: &[(&str, &str)]) -> Result<(&'static str, bool), String> {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match asked_for(&request.body(()).unwrap()) {
            Ok(asked) => Ok((asked.version.as_str(), asked.by_path)),
            Err(error) => Err(format!("{error:?}")),
        }
    }

    const UNSUPPORTED: &str = "UnsupportedVersion";

    #[test]
    fn the_path_wins_then_the_header_then_the_media_type() {
        let two = ("api-version", "2");
        let one = ("accept", "application/vnd.flash-sale.v1+json");
        assert_eq!(asked("/v1/checkout", &[two]), Ok(("1", true)));
        assert_eq!(asked("/v2/sales", &[("api-version", "9")]), Ok(("2", true)));
        assert_eq!(asked("/sales/active", &[two, one]), Ok(("2", false)));
        let media_type = ("accept", "text/html, application/VND.flash-sale.v2+JSON; q=0.9");
        assert_eq!(asked("/sales/active", &[media_type]), Ok(("2", false)));
        assert_eq!(asked("/sales/active", &[("accept", "*/*")]), Ok(("1", false)));
        assert_eq!(asked("/vouchers", &[]), Ok(("1", false)));
    }

    #[test]
    fn a_version_that_does_not_exist_is_refused_wherever_it_is_named() {
        for path in ["/v0", "/v3/sales", "/v01/sales", "/v99999999999999999999/x"] {
            assert_eq!(asked(path, &[]), Err(UNSUPPORTED.to_owned()), "{path}");
        }
        for value in ["3", "", "two", "2.0", "é"] {
            let asked = asked("/sales", &[("api-version", value)]);
            assert_eq!(asked, Err(UNSUPPORTED.to_owned()), "{value}");
        }
        let nine = "application/vnd.flash-sale.v9+json";
        assert_eq!(asked("/sales", &[("accept", nine)]), Err(UNSUPPORTED.to_owned()));
        let or_anything = format!("{nine}, */*;q=0.1");
        assert_eq!(asked("/sales", &[("accept", &or_anything)]), Ok(("1", false)));
        assert!(asked("/sales", &[("api-version", "1"), ("api-version", "2")]).is_err());
    }

    #[test]
    fn a_path_without_a_version_gets_the_one_that_was_asked_for() {
        let mut request = Request::builder().uri("/sales/S-1?limit=5").body(()).unwrap();
        lead(Asked { version: Version::Two, by_path: false }, &mut request);
        assert_eq!(request.uri(), "/v2/sales/S-1?limit=5");
        assert_eq!(Version::of(&request), Version::Two);
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(value in "\\PC{0,60}", begin in 0..40_usize) {
            let text: String = "application/vnd.flash-sale.v2+json".chars().take(begin).collect();
            if let Ok(value) = HeaderValue::from_str(&format!("{text}{value}")) {
                let mut headers = HeaderMap::new();
                headers.insert(header::ACCEPT, value.clone());
                headers.insert(API_VERSION, value);
                let _ = (by_header(&headers), by_media_type(&headers));
            }
        }
    }
}
