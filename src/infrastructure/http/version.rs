//! Which version of the API a request is for: its path says so (`/v2/…`), else the header `Api-Version`, else a media type that
//! it accepts (`application/vnd.flash-sale.v2+json`), else it is version 1.

use axum::extract;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header};
use axum::middleware::Next;
use axum::response::Response;

use super::error::ApiError;
use super::{openapi, problem};

/// Names a request's version, and every answer's.
pub(crate) const API_VERSION: HeaderName = HeaderName::from_static("api-version");
/// What answers to paths without a version depend on.
pub(crate) const VARIES_BY: HeaderValue = HeaderValue::from_static("api-version, accept");
/// What has no version; so have the pages of problems and of the documentation.
const WITHOUT_VERSION: [&str; 3] = ["/health", "/metrics", openapi::DOCUMENT];
const PAGES: [&str; 2] = [problem::PAGES, openapi::PAGE];
/// Media types of this API are between these.
const MEDIA_TYPE: (&str, &str) = ("application/vnd.flash-sale.v", "+json");

/// A version that exists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Version {
    /// The first.
    #[default]
    One,
    /// The second.
    Two,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) version: Version,
    pub(crate) said_by: SaidBy,
}

/// How it says which version that is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum SaidBy {
    /// Its path. Then nothing else is looked at.
    Path,
    /// Headers, also where they say nothing.
    #[default]
    Headers,
    /// Nothing: what it asks for has no version.
    Nothing,
}

/// Why a request is for no version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// There is no such version.
    Unsupported,
    /// The header was given twice.
    GivenTwice,
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unsupported => Self::UnsupportedVersion,
            Fault::GivenTwice => Self::invalid("Api-Version", "must be given once"),
        }
    }
}

impl Version {
    /// Those that exist, in words.
    pub(crate) const NAMES: [&str; 2] = ["1", "2"];

    /// Its number.
    pub(crate) fn as_str(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// Its number, as a header's value.
    pub(crate) fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.as_str())
    }

    /// The version in which an answer to this request is to be.
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        Asked::by(request).version
    }

    fn numbered(number: &str) -> Result<Self, Fault> {
        match number {
            "1" => Ok(Self::One),
            "2" => Ok(Self::Two),
            _ => Err(Fault::Unsupported),
        }
    }
}

impl Asked {
    /// As it was found when the request came in.
    pub(crate) fn by<B>(request: &Request<B>) -> Self {
        request.extensions().get().copied().unwrap_or_default()
    }
}

/// What a request asks for; a fault if that does not exist.
pub(crate) fn asked_for<B>(request: &Request<B>) -> Result<Asked, Fault> {
    let path = request.uri().path();
    if let Some(number) = number_in(path) {
        return Ok(Asked { version: Version::numbered(number)?, said_by: SaidBy::Path });
    }
    if WITHOUT_VERSION.contains(&path) || PAGES.iter().any(|pages| path.starts_with(pages)) {
        return Ok(Asked { version: Version::default(), said_by: SaidBy::Nothing });
    }
    let by_header = match by_header(request.headers())? {
        Some(version) => Some(version),
        None => by_media_type(request.headers())?,
    };
    Ok(Asked { version: by_header.unwrap_or_default(), said_by: SaidBy::Headers })
}

/// Puts the version before a path that has none, and notes it for whoever answers.
pub(crate) fn lead<B>(asked: Result<Asked, Fault>, request: &mut Request<B>) {
    match asked {
        Ok(asked) => {
            if asked.said_by == SaidBy::Headers
                && asked.version != Version::One
                && let Some(uri) = versioned(request.uri(), asked.version)
            {
                *request.uri_mut() = uri;
            }
            request.extensions_mut().insert(asked);
        }
        Err(fault) => {
            request.extensions_mut().insert(fault);
        }
    }
}

/// Refuses what is for no version. It stands behind the bounds of head and body, which hold for such a request too.
pub(crate) async fn existing(request: extract::Request, next: Next) -> Response {
    match request.extensions().get::<Fault>() {
        Some(fault) => ApiError::from(*fault).in_version(Version::default()),
        None => next.run(request).await,
    }
}

/// Whether an `Accept` may name a version.
pub(crate) fn may_be_in(accept: &HeaderValue) -> bool {
    let begins = MEDIA_TYPE.0.as_bytes();
    accept.as_bytes().windows(begins.len()).any(|part| part == begins)
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

fn by_header(headers: &HeaderMap) -> Result<Option<Version>, Fault> {
    let mut given = headers.get_all(API_VERSION).iter();
    let Some(value) = given.next() else {
        return Ok(None);
    };
    if given.next().is_some() {
        return Err(Fault::GivenTwice);
    }
    let number = value.to_str().map_err(|_| Fault::Unsupported)?;
    Version::numbered(number.trim()).map(Some)
}

/// The version that is accepted most; the first of those that are accepted alike. One that does not exist is a fault only
/// where nothing else is accepted.
fn by_media_type(headers: &HeaderMap) -> Result<Option<Version>, Fault> {
    let (mut best, mut unknown, mut others) = (None, false, false);
    for value in headers.get_all(header::ACCEPT) {
        for accepted in value.to_str().unwrap_or_default().split(',') {
            let mut parts = accepted.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
            let weight = weight.unwrap_or(1.0);
            if media_type.is_empty() || weight <= 0.0 {
                continue;
            }
            match number_of(media_type).map(Version::numbered) {
                Some(Ok(version)) if best.is_none_or(|(most, _)| weight > most) => {
                    best = Some((weight, version));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) => unknown = true,
                None => others = true,
            }
        }
    }
    match best {
        Some((_, version)) => Ok(Some(version)),
        None if unknown && !others => Err(Fault::Unsupported),
        None => Ok(None),
    }
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

    fn asked(path: &str, headers: &[(&str, &str)]) -> Result<(&'static str, SaidBy), Fault> {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let asked = asked_for(&request.body(()).unwrap())?;
        Ok((asked.version.as_str(), asked.said_by))
    }

    const UNSUPPORTED: Result<(&str, SaidBy), Fault> = Err(Fault::Unsupported);

    #[test]
    fn the_path_wins_then_the_header_then_the_media_type() {
        let two = ("api-version", "2");
        let one = ("accept", "application/vnd.flash-sale.v1+json");
        assert_eq!(asked("/v1/checkout", &[two]), Ok(("1", SaidBy::Path)));
        assert_eq!(asked("/v2/sales", &[("api-version", "9")]), Ok(("2", SaidBy::Path)));
        assert_eq!(asked("/sales/active", &[two, one]), Ok(("2", SaidBy::Headers)));
        let media_type = ("accept", "text/html, application/VND.flash-sale.v2+JSON; q=0.9");
        assert_eq!(asked("/sales/active", &[media_type]), Ok(("2", SaidBy::Headers)));
        assert_eq!(asked("/sales/active", &[("accept", "*/*")]), Ok(("1", SaidBy::Headers)));
        assert_eq!(asked("/vouchers", &[]), Ok(("1", SaidBy::Headers)));
    }

    #[test]
    fn a_version_that_does_not_exist_is_refused_wherever_it_is_named() {
        for path in ["/v0", "/v3/sales", "/v01/sales", "/v99999999999999999999/x"] {
            assert_eq!(asked(path, &[]), UNSUPPORTED, "{path}");
        }
        for value in ["3", "", "two", "2.0", "é"] {
            let asked = asked("/sales", &[("api-version", value)]);
            assert_eq!(asked, UNSUPPORTED, "{value}");
        }
        let nine = "application/vnd.flash-sale.v9+json";
        assert_eq!(asked("/sales", &[("accept", nine)]), UNSUPPORTED);
        let or_anything = format!("{nine}, */*;q=0.1");
        assert_eq!(asked("/sales", &[("accept", &or_anything)]), Ok(("1", SaidBy::Headers)));
        let with_an_empty_one = format!("{nine},");
        assert_eq!(asked("/sales", &[("accept", &with_an_empty_one)]), UNSUPPORTED);
        let twice = [("api-version", "1"), ("api-version", "2")];
        assert_eq!(asked("/sales", &twice), Err(Fault::GivenTwice));
    }

    #[test]
    fn of_several_media_types_the_one_that_is_accepted_most_counts() {
        let of = |number, weight| format!("application/vnd.flash-sale.v{number}+json;q={weight}");
        for (accept, expected) in [
            (format!("{}, {}", of(2, "0.1"), of(1, "0.9")), "1"),
            (format!("{}, {}", of(2, "0.5"), of(1, "0.5")), "2"),
            (format!("{}, application/json", of(2, "0")), "1"),
        ] {
            let asked = asked("/sales", &[("accept", &accept)]);
            assert_eq!(asked, Ok((expected, SaidBy::Headers)), "{accept}");
        }
    }

    #[test]
    fn what_has_no_version_is_the_same_whatever_is_asked_for() {
        for path in ["/health", "/metrics", "/problems/", "/problems/sale_not_found"] {
            for number in ["1", "2", "9"] {
                let asked = asked(path, &[("api-version", number)]);
                assert_eq!(asked, Ok(("1", SaidBy::Nothing)), "{path} {number}");
            }
        }
    }

    #[test]
    fn a_path_without_a_version_gets_the_one_that_was_asked_for() {
        let mut request = Request::builder().uri("/sales/S-1?limit=5").body(()).unwrap();
        lead(Ok(Asked { version: Version::Two, said_by: SaidBy::Headers }), &mut request);
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
