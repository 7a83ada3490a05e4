//! How a request is framed: what could be read in two ways is refused, whoever stands in front (RFC 9112, sections 3.2 and 6.1).

use axum::http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use super::error::ApiError;
use super::version;

/// What a `Host` may consist of: a name or an address, and a port (RFC 3986, section 3.2.2).
const HOST_SIGNS: &[u8] = b"-._~!$&'()*+,;=:[]%";

/// What the header lines say of the request's frame: how many there are of each kind.
#[derive(Default)]
pub(crate) struct Framing {
    hosts: u8,
    bad_hosts: u8,
    lengths: u8,
    codings: u8,
    /// Those that are not `chunked`: what they did to the body was not undone.
    other_codings: u8,
    /// Whether a line may say which version is asked for.
    pub(crate) names_version: bool,
}

impl Framing {
    /// Takes in one line.
    pub(crate) fn note(&mut self, name: &HeaderName, value: &HeaderValue) {
        let value_is = |known: &[u8]| value.as_bytes().eq_ignore_ascii_case(known);
        if name == header::HOST {
            let is_sign = |byte: &u8| byte.is_ascii_alphanumeric() || HOST_SIGNS.contains(byte);
            let is_good = !value.is_empty() && value.as_bytes().iter().all(is_sign);
            add(&mut self.hosts, true);
            add(&mut self.bad_hosts, !is_good);
        } else if name == header::CONTENT_LENGTH {
            add(&mut self.lengths, true);
        } else if name == header::TRANSFER_ENCODING {
            add(&mut self.codings, true);
            add(&mut self.other_codings, !value_is(b"chunked"));
        } else if name == header::ACCEPT {
            self.names_version |= version::may_be_in(value);
        } else if name == version::API_VERSION {
            self.names_version = true;
        }
    }

    /// Whether there is one way to read it.
    pub(crate) fn is_sound(&self, version: Version) -> Result<(), ApiError> {
        let hosts = if version == Version::HTTP_11 { 1..=1 } else { 0..=1 };
        if !hosts.contains(&self.hosts) || self.bad_hosts > 0 {
            let fault = "must be given once, as a host and perhaps a port";
            return Err(ApiError::invalid("Host", fault));
        }
        if self.other_codings > 0 || self.codings > 1 || (self.codings > 0 && self.lengths > 0) {
            let fault = "must be chunked alone, and not beside Content-Length";
            return Err(ApiError::invalid("Transfer-Encoding", fault));
        }
        Ok(())
    }
}

fn add(count: &mut u8, one_more: bool) {
    *count = count.saturating_add(u8::from(one_more));
}

/// Conditions on what has no validators (RFC 9110, section 13.1): they cannot hold, and nothing may be done then.
pub(crate) fn unconditional(headers: &HeaderMap) -> Result<(), ApiError> {
    let asks_for_one = |value: &HeaderValue| value != "*";
    let cannot_hold = headers.get_all(header::IF_MATCH).iter().any(asks_for_one)
        || headers.contains_key(header::IF_NONE_MATCH);
    if cannot_hold { Err(ApiError::PreconditionFailed) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_sound(version: Version, lines: &[(&'static str, &'static str)]) -> bool {
        let mut framing = Framing::default();
        for (name, value) in lines {
            framing.note(&HeaderName::from_static(name), &HeaderValue::from_static(value));
        }
        framing.is_sound(version).is_ok()
    }

    #[test]
    fn a_request_has_one_host_and_one_way_to_its_end() {
        let host = ("host", "shop.example:8080");
        for lines in [
            &[host][..],
            &[("host", "[::1]:8080")],
            &[host, ("content-length", "3")],
            &[host, ("transfer-encoding", "Chunked")],
        ] {
            assert!(is_sound(Version::HTTP_11, lines), "{lines:?}");
        }
        for lines in [
            &[][..],
            &[host, host],
            &[("host", "")],
            &[("host", "a b")],
            &[("host", "a/b")],
            &[("host", "user@a")],
            &[host, ("transfer-encoding", "gzip, chunked")],
            &[host, ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            &[host, ("content-length", "3"), ("transfer-encoding", "chunked")],
        ] {
            assert!(!is_sound(Version::HTTP_11, lines), "{lines:?}");
        }
        assert!(is_sound(Version::HTTP_2, &[]) && is_sound(Version::HTTP_10, &[]));
    }

    #[test]
    fn a_condition_that_cannot_hold_stops_a_write() {
        let asked = |name, value| HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);

        assert!(unconditional(&HeaderMap::new()).is_ok());
        assert!(unconditional(&asked(header::IF_MATCH, "*")).is_ok());
        assert!(unconditional(&asked(header::IF_MATCH, "\"a\"")).is_err());
        assert!(unconditional(&asked(header::IF_NONE_MATCH, "*")).is_err());
    }
}
