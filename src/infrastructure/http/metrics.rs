//! Requests in numbers. Children are resolved the first time they are needed and kept.

use std::sync::OnceLock;
use std::time::Duration;

use axum::http::Method;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
};

use super::version::Version;

/// The route of what is at no path that exists.
pub(crate) const UNMATCHED: &str = "unmatched";
/// Templates of all routes; the last one stands for everything else.
const ROUTES: [&str; 22] = [
    "/checkout",
    "/purchase",
    "/sales",
    "/sales/active",
    "/sales/{sale_id}",
    "/sales/{sale_id}/items",
    "/purchases/{code}",
    "/users/{user_id}/purchases",
    "/buyers/{buyer_id}/purchases",
    "/checkouts",
    "/checkouts/{code}",
    "/checkouts/{code}/items/{item_id}",
    "/checkouts/{code}/purchase",
    "/problems/",
    "/problems/{code}",
    "/openapi.json",
    "/docs",
    "/docs/",
    "/docs/{*rest}",
    "/health",
    "/metrics",
    UNMATCHED,
];
/// Methods; the last one stands for everything else.
const METHODS: [&str; 8] = ["GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "OTHER"];
/// Statuses that are answered. One more place stands for everything else.
const STATUSES: [u16; 18] =
    [200, 201, 303, 304, 400, 404, 405, 409, 410, 412, 413, 414, 415, 422, 429, 431, 500, 503];

/// Counts and times requests.
pub(crate) struct HttpMetrics {
    total: IntCounterVec,
    duration: HistogramVec,
    totals: Vec<OnceLock<IntCounter>>,
    durations: Vec<OnceLock<Histogram>>,
}

impl HttpMetrics {
    /// Registers the metrics.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let total = IntCounterVec::new(
            Opts::new("http_requests_total", "Requests answered."),
            &["method", "route", "status", "version"],
        )?;
        let buckets = vec![
            0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
            2.5, 5.0, 10.0,
        ];
        let duration = HistogramVec::new(
            HistogramOpts::new("http_request_duration_seconds", "Time until the answer.")
                .buckets(buckets),
            &["method", "route", "version"],
        )?;
        registry.register(Box::new(total.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        let pairs = Version::NAMES.len() * ROUTES.len() * METHODS.len();
        Ok(Self {
            total,
            duration,
            totals: (0..pairs * (STATUSES.len() + 1)).map(|_| OnceLock::new()).collect(),
            durations: (0..pairs).map(|_| OnceLock::new()).collect(),
        })
    }

    /// Takes in one answered request.
    pub(crate) fn answered(
        &self,
        method: &Method,
        (version, route): (Version, &str),
        status: u16,
        took: Duration,
    ) {
        let route = place(&ROUTES, route);
        let method = place(&METHODS, method.as_str());
        let status = STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len());
        let pair = (version as usize * ROUTES.len() + route) * METHODS.len() + method;
        let version = version.as_str();
        let (method, route) = (METHODS[method], ROUTES[route]);
        self.totals[pair * (STATUSES.len() + 1) + status]
            .get_or_init(|| {
                let status = STATUSES.get(status).map_or("other".to_owned(), u16::to_string);
                self.total.with_label_values(&[method, route, &status, version])
            })
            .inc();
        self.durations[pair]
            .get_or_init(|| self.duration.with_label_values(&[method, route, version]))
            .observe(took.as_secs_f64());
    }
}

/// The place of a word, or of the last one for an unknown word.
fn place(words: &[&str], word: &str) -> usize {
    words.iter().position(|known| *known == word).unwrap_or(words.len() - 1)
}

/// A route's template without its version, which is a label of its own.
pub(crate) fn route_of(matched: Option<&str>) -> &str {
    let bare = |path| ["/v1", "/v2"].iter().find_map(|version| str::strip_prefix(path, *version));
    matched.map_or(UNMATCHED, |path| bare(path).unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_user_typed_becomes_a_label() {
        let registry = Registry::new();
        let metrics = HttpMetrics::register(&registry).unwrap();
        let method = Method::from_bytes(b"BREW").unwrap();

        metrics.answered(&method, (Version::One, "/etc/passwd"), 299, Duration::ZERO);

        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert!(text.contains(
            r#"http_requests_total{method="OTHER",route="unmatched",status="other",version="1"} 1"#
        ));
    }

    #[test]
    fn every_path_and_status_of_the_document_has_a_label() {
        let document: serde_json::Value =
            serde_json::from_str(&crate::infrastructure::http::openapi_document()).unwrap();

        for (path, operations) in document["paths"].as_object().unwrap() {
            assert!(ROUTES.contains(&route_of(Some(path))), "{path}");
            for operation in operations.as_object().unwrap().values() {
                for status in operation["responses"].as_object().unwrap().keys() {
                    assert!(STATUSES.contains(&status.parse().unwrap()), "{path} {status}");
                }
            }
        }
    }

    #[test]
    fn all_spellings_of_a_route_are_one() {
        assert_eq!(route_of(Some("/v2/sales/active")), "/sales/active");
        assert_eq!(route_of(Some("/v1/checkout")), "/checkout");
        assert_eq!(route_of(Some("/checkout")), "/checkout");
        assert_eq!(route_of(None), "unmatched");
    }
}
