//! Long answers, lists mostly, are packed for clients that can unpack them.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

/// Answers that are shorter are sent as they are: packing them saves no packet.
const ABOVE: u64 = 1_024;
/// What an answer can be packed with.
const CODINGS: [&str; 2] = ["gzip", "zstd"];

/// Packs. Fast rather than small: the time is a buyer's.
pub(crate) fn layer() -> CompressionLayer<impl Predicate> {
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(ABOVE).and(NotForContentType::IMAGES))
}

/// Leaves of what a client accepts only what matters here. Whoever refuses plain answers gets one all the same: what was done
/// must be told, and the layer behind this would say 406.
pub(crate) async fn accepted(mut request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ACCEPT_ENCODING) {
        let wanted = wanted(request.headers());
        request.headers_mut().remove(header::ACCEPT_ENCODING);
        if let Some(wanted) = wanted {
            request.headers_mut().insert(header::ACCEPT_ENCODING, wanted);
        }
    }
    next.run(request).await
}

fn wanted(headers: &HeaderMap) -> Option<HeaderValue> {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter();
    let codings = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    let known: Vec<&str> = codings
        .map(str::trim)
        .filter(|coding| {
            let name = coding.split(';').next().unwrap_or_default().trim();
            CODINGS.iter().any(|known| known.eq_ignore_ascii_case(name))
        })
        .collect();
    HeaderValue::try_from(known.join(", ")).ok().filter(|wanted| !wanted.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_accepted_only_known_codings_are_left() {
        for (asked, expected) in [
            ("gzip, br;q=0.5, ZSTD;q=0.2", Some("gzip, ZSTD;q=0.2")),
            ("identity;q=0", None),
            ("*;q=0", None),
            ("br, *", None),
            ("gzip;q=0, identity;q=0", Some("gzip;q=0")),
            ("", None),
        ] {
            let asked =
                HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(asked))]);
            assert_eq!(wanted(&asked), expected.map(HeaderValue::from_static), "{asked:?}");
        }
    }
}
