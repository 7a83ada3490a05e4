//! Framing of a request: refuses what a proxy and this service could interpret differently (RFC 9112, sections 3.2 and 6.1).

use axum::http::{HeaderName, HeaderValue, Version, header};

use crate::infrastructure::http::error::ApiError;

/// Punctuation that a `Host` may contain: a name or an address, and a port (RFC 3986, section 3.2.2).
const HOST_PUNCTUATION: &[u8] = b"-._~!$&'()*+,;=:[]%";

/// Number of header lines of each kind.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    hosts: u8,
    invalid_hosts: u8,
    lengths: u8,
    codings: u8,
    /// Codings other than `chunked`, which this service does not decode.
    other_codings: u8,
}

impl Framing {
    /// Counts a header line. Returns whether it concerns framing.
    pub(crate) fn count(&mut self, name: &HeaderName, value: &HeaderValue) -> bool {
        if name == header::HOST {
            let is_host_char =
                |byte: &u8| byte.is_ascii_alphanumeric() || HOST_PUNCTUATION.contains(byte);
            let is_valid = !value.is_empty() && value.as_bytes().iter().all(is_host_char);
            add(&mut self.hosts, true);
            add(&mut self.invalid_hosts, !is_valid);
        } else if name == header::CONTENT_LENGTH {
            add(&mut self.lengths, true);
        } else if name == header::TRANSFER_ENCODING {
            let is_chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
            add(&mut self.codings, true);
            add(&mut self.other_codings, !is_chunked);
        } else {
            return false;
        }
        true
    }

    /// Refuses framing that two parsers could interpret differently.
    pub(crate) fn check(&self, version: Version) -> Result<(), ApiError> {
        let hosts = if version == Version::HTTP_11 { 1..=1 } else { 0..=1 };
        if !hosts.contains(&self.hosts) || self.invalid_hosts > 0 {
            let error = "must be given once, as a host with an optional port";
            return Err(ApiError::invalid("Host", error));
        }
        if self.other_codings > 0 || self.codings > 1 || (self.codings > 0 && self.lengths > 0) {
            let error = "must be only chunked, and not together with Content-Length";
            return Err(ApiError::invalid("Transfer-Encoding", error));
        }
        Ok(())
    }
}

fn add(count: &mut u8, one_more: bool) {
    *count = count.saturating_add(u8::from(one_more));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_unambiguous(version: Version, lines: &[(&'static str, &'static str)]) -> bool {
        let mut framing = Framing::default();
        for (name, value) in lines {
            framing.count(&HeaderName::from_static(name), &HeaderValue::from_static(value));
        }
        framing.check(version).is_ok()
    }

    #[test]
    fn a_request_has_one_host_and_one_body_length() {
        let host = ("host", "shop.example:8080");
        for lines in [
            &[host][..],
            &[("host", "[::1]:8080")],
            &[host, ("content-length", "3")],
            &[host, ("transfer-encoding", "Chunked")],
        ] {
            assert!(is_unambiguous(Version::HTTP_11, lines), "{lines:?}");
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
            assert!(!is_unambiguous(Version::HTTP_11, lines), "{lines:?}");
        }
        assert!(is_unambiguous(Version::HTTP_2, &[]) && is_unambiguous(Version::HTTP_10, &[]));
    }
}
