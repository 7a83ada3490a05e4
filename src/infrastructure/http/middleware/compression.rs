//! Compression of long responses, mostly lists, for clients that accept it. Streams of events are never compressed: the events
//! would wait for each other.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

/// Minimum size of a compressed response. Below it, compression saves no packet.
const MIN_BYTES: u64 = 1_024;
/// Supported content codings.
const CODINGS: [&str; 2] = ["gzip", "zstd"];

/// Whether a response with this body would be compressed for a client that accepts it.
pub(crate) fn is_compressible(body: &[u8]) -> bool {
    u64::try_from(body.len()).is_ok_and(|bytes| bytes >= MIN_BYTES)
}

/// Compresses at the fastest level, because a buyer waits for the response.
pub(crate) fn layer() -> CompressionLayer<impl Predicate> {
    CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(
        SizeAbove::new(MIN_BYTES).and(NotForContentType::IMAGES).and(NotForContentType::SSE),
    )
}

/// Reduces `Accept-Encoding` to the supported codings. A client that refuses uncompressed responses gets one all the same: the
/// compression layer would return 406, although the request has been executed.
pub(crate) async fn supported_encodings(mut request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ACCEPT_ENCODING) {
        let supported = supported(request.headers());
        request.headers_mut().remove(header::ACCEPT_ENCODING);
        if let Some(supported) = supported {
            request.headers_mut().insert(header::ACCEPT_ENCODING, supported);
        }
    }
    next.run(request).await
}

fn supported(headers: &HeaderMap) -> Option<HeaderValue> {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter();
    let codings = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    let known: Vec<&str> = codings
        .map(str::trim)
        .filter(|coding| {
            let name = coding.split(';').next().unwrap_or_default().trim();
            CODINGS.iter().any(|known| known.eq_ignore_ascii_case(name))
        })
        .collect();
    HeaderValue::try_from(known.join(", ")).ok().filter(|supported| !supported.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_supported_codings_of_accept_encoding_remain() {
        for (accepted, expected) in [
            ("gzip, br;q=0.5, ZSTD;q=0.2", Some("gzip, ZSTD;q=0.2")),
            ("identity;q=0", None),
            ("*;q=0", None),
            ("br, *", None),
            ("gzip;q=0, identity;q=0", Some("gzip;q=0")),
            ("", None),
        ] {
            let value = HeaderValue::from_static(accepted);
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, value)]);
            assert_eq!(supported(&headers), expected.map(HeaderValue::from_static), "{accepted}");
        }
    }
}
