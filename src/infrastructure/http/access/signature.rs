//! Signed requests: a MAC over the time, a nonce and the request, by a key that the service and its holder know.

use std::str::FromStr;

use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, Method, Uri};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::credentials::{Credential, single};
use crate::infrastructure::http::model::headers::{
    SIGNATURE, SIGNATURE_KEY, SIGNATURE_NONCE, SIGNATURE_TIMESTAMP,
};

/// By how many seconds the clocks of the two may differ, and how long a request may be on its way.
pub(crate) const WINDOW_SECONDS: i64 = 300;
/// Longest id of a key, in bytes.
const MAX_KEY_BYTES: usize = 128;
/// Longest nonce, in bytes.
const MAX_NONCE_BYTES: usize = 128;
/// The version of signatures.
const VERSION: &str = "v1=";
/// Bytes of a MAC.
const MAC_BYTES: usize = 32;

/// What the headers of a signed request say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Signed<'h> {
    pub(super) key: &'h str,
    /// The digits as they were signed.
    timestamp: &'h str,
    pub(super) nonce: &'h str,
    mac: [u8; MAC_BYTES],
}

/// Why headers do not sign a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsigned {
    /// One of them is missing.
    Missing(&'static str),
    /// One of them is not what it must be.
    Malformed(&'static str),
}

impl<'h> Signed<'h> {
    pub(super) fn read(headers: &'h HeaderMap) -> Result<Self, Unsigned> {
        let key = value(headers, &SIGNATURE_KEY, "Signature-Key")?;
        let timestamp = value(headers, &SIGNATURE_TIMESTAMP, "Signature-Timestamp")?;
        let nonce = value(headers, &SIGNATURE_NONCE, "Signature-Nonce")?;
        let mac = value(headers, &SIGNATURE, "Signature")?;
        let mac = mac.strip_prefix(VERSION).and_then(parse_hex);
        let mac = mac.ok_or(Unsigned::Malformed("Signature"))?;
        if !is_visible(key) || key.len() > MAX_KEY_BYTES {
            return Err(Unsigned::Malformed("Signature-Key"));
        }
        // A point separates the parts of what is signed.
        if !is_visible(nonce) || nonce.contains('.') || nonce.len() > MAX_NONCE_BYTES {
            return Err(Unsigned::Malformed("Signature-Nonce"));
        }
        let is_number = timestamp.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number || i64::from_str(timestamp).is_err() {
            return Err(Unsigned::Malformed("Signature-Timestamp"));
        }
        Ok(Self { key, timestamp, nonce, mac })
    }

    /// Whether it was signed about now, in Unix seconds.
    pub(super) fn is_recent(&self, now: i64) -> bool {
        let signed = i64::from_str(self.timestamp).unwrap_or(i64::MIN);
        now.abs_diff(signed) <= WINDOW_SECONDS.unsigned_abs()
    }

    /// Whether the holder of this secret signed this request. Compares in constant time.
    pub(super) fn is_genuine(
        &self,
        secret: &str,
        (method, target): (&Method, &Uri),
        body: &[u8],
    ) -> bool {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
            return false;
        };
        let target = target.path_and_query().map_or("/", PathAndQuery::as_str);
        let body = hex(&Sha256::digest(body));
        for part in [self.timestamp, ".", self.nonce, ".", method.as_str(), ".", target, ".", &body]
        {
            mac.update(part.as_bytes());
        }
        mac.verify_slice(&self.mac).is_ok()
    }
}

fn value<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
    shown: &'static str,
) -> Result<&'h str, Unsigned> {
    match single(headers, name) {
        Credential::Present(value) => Ok(value),
        Credential::Missing => Err(Unsigned::Missing(shown)),
        Credential::Malformed => Err(Unsigned::Malformed(shown)),
    }
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn parse_hex(text: &str) -> Option<[u8; MAC_BYTES]> {
    if text.len() != 2 * MAC_BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; MAC_BYTES];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const SECRET: &str = "fsk_secret";
    /// Of `printf '1767225600.n1.POST./checkout?user_id=ann.<sha256 of nothing>' | openssl dgst -sha256 -hmac fsk_secret`.
    const MAC: &str = "79f93ff28707077a8662d51d712742e47e17d2eb2f2ed1126c17310acd90d789";

    fn headers(changed: (&HeaderName, &str)) -> HeaderMap {
        let signature = format!("v1={MAC}");
        let mut headers: HeaderMap = [
            (SIGNATURE_KEY, "key_1"),
            (SIGNATURE_TIMESTAMP, "1767225600"),
            (SIGNATURE_NONCE, "n1"),
            (SIGNATURE, &signature),
        ]
        .into_iter()
        .map(|(name, value)| (name, HeaderValue::from_str(value).unwrap()))
        .collect();
        headers.insert(changed.0, HeaderValue::from_str(changed.1).unwrap());
        headers
    }

    fn is_genuine(headers: &HeaderMap, (method, target): (Method, &str), body: &[u8]) -> bool {
        let signed = Signed::read(headers).unwrap();
        signed.is_genuine(SECRET, (&method, &target.parse().unwrap()), body)
    }

    #[test]
    fn a_signature_is_that_of_these_bytes_and_no_others() {
        const TARGET: &str = "/checkout?user_id=ann";
        let good = headers((&SIGNATURE_KEY, "key_1"));

        assert!(is_genuine(&good, (Method::POST, TARGET), b""));
        assert!(!is_genuine(&good, (Method::GET, TARGET), b""));
        assert!(!is_genuine(&good, (Method::POST, "/checkout?user_id=bob"), b""));
        assert!(!is_genuine(&good, (Method::POST, TARGET), b" "));
        assert!(!is_genuine(&headers((&SIGNATURE_NONCE, "n2")), (Method::POST, TARGET), b""));
        let later = headers((&SIGNATURE_TIMESTAMP, "1767225601"));
        assert!(!is_genuine(&later, (Method::POST, TARGET), b""));
    }

    #[test]
    fn five_minutes_are_recent() {
        let headers = headers((&SIGNATURE_KEY, "key_1"));
        let signed = Signed::read(&headers).unwrap();

        for (now, is_recent) in
            [(1_767_225_600, true), (1_767_225_900, true), (1_767_225_300, true)]
                .into_iter()
                .chain([(1_767_225_901, false), (1_767_225_299, false), (0, false)])
        {
            assert_eq!(signed.is_recent(now), is_recent, "{now}");
        }
    }

    #[test]
    fn other_headers_sign_nothing() {
        for (name, value, shown) in [
            (&SIGNATURE, "v2=00", "Signature"),
            (&SIGNATURE, MAC, "Signature"),
            (&SIGNATURE, "v1=zz", "Signature"),
            (&SIGNATURE_NONCE, "a.b", "Signature-Nonce"),
            (&SIGNATURE_NONCE, &"n".repeat(129), "Signature-Nonce"),
            (&SIGNATURE_TIMESTAMP, "-1", "Signature-Timestamp"),
            (&SIGNATURE_TIMESTAMP, "99999999999999999999", "Signature-Timestamp"),
            (&SIGNATURE_TIMESTAMP, "1767225600.0", "Signature-Timestamp"),
            (&SIGNATURE_KEY, "a key", "Signature-Key"),
        ] {
            let headers = headers((name, value));
            assert_eq!(Signed::read(&headers), Err(Unsigned::Malformed(shown)), "{value}");
        }
        let mut missing = headers((&SIGNATURE_KEY, "key_1"));
        missing.remove(SIGNATURE_NONCE);
        assert_eq!(Signed::read(&missing), Err(Unsigned::Missing("Signature-Nonce")));
    }
}
