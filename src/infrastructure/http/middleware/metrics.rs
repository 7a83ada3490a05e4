//! Metrics of requests. The counter and histogram of each label set are looked up once and kept, because every request needs them.

use std::sync::OnceLock;
use std::time::Duration;

use axum::http::Method;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
};

use crate::infrastructure::http::error::with_page;
use crate::infrastructure::http::model::version::Version;
use crate::infrastructure::traces::{Exemplar, Exemplars, Ids};

/// The label of requests that match no route.
pub(crate) const UNMATCHED: &str = "unmatched";
/// Labels of methods. The last one stands for all others.
const METHODS: [&str; 8] = ["GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "OTHER"];
/// Statuses that are not errors.
const SUCCESSES: [u16; 5] = [200, 201, 204, 303, 304];

/// The histogram of durations, and the bounds of its buckets.
const DURATION: &str = "http_request_duration_seconds";
const BUCKETS: [f64; 16] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Counts requests and measures their duration.
pub(crate) struct HttpMetrics {
    /// Route templates. The last one stands for all others.
    routes: Vec<String>,
    /// Statuses with a label of their own. All others share `other`.
    statuses: Vec<u16>,
    total: IntCounterVec,
    duration: HistogramVec,
    /// By version, route, method and status.
    totals: Vec<OnceLock<IntCounter>>,
    /// By version, route and method.
    durations: Vec<OnceLock<Histogram>>,
    /// Traced requests, if there are traces.
    exemplars: Option<Exemplars>,
}

impl HttpMetrics {
    /// Registers the metrics; `routes` are the templates that become labels.
    pub(crate) fn register(
        registry: &Registry,
        mut routes: Vec<String>,
        exemplars: Option<Exemplars>,
    ) -> prometheus::Result<Self> {
        routes.push(UNMATCHED.to_owned());
        let total = IntCounterVec::new(
            Opts::new("http_requests_total", "Completed requests."),
            &["method", "route", "status", "version"],
        )?;
        let duration = HistogramVec::new(
            HistogramOpts::new(DURATION, "Time until the response.").buckets(BUCKETS.into()),
            &["method", "route", "version"],
        )?;
        registry.register(Box::new(total.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        let statuses = statuses();
        let series = Version::NAMES.len() * routes.len() * METHODS.len();
        Ok(Self {
            routes,
            total,
            duration,
            totals: (0..series * (statuses.len() + 1)).map(|_| OnceLock::new()).collect(),
            statuses,
            durations: (0..series).map(|_| OnceLock::new()).collect(),
            exemplars,
        })
    }

    /// Counts one completed request.
    pub(crate) fn count(
        &self,
        method: &Method,
        (version, route): (Version, &str),
        status: u16,
        (elapsed, traced): (Duration, Option<Ids>),
    ) {
        let route = index_of(&self.routes, route);
        let method = index_of(&METHODS, method.as_str());
        let others = self.statuses.len();
        let status = self.statuses.iter().position(|known| *known == status).unwrap_or(others);
        let series = (version as usize * self.routes.len() + route) * METHODS.len() + method;
        let version = version.as_str();
        let (method, route) = (METHODS[method], self.routes[route].as_str());
        self.totals[series * (others + 1) + status]
            .get_or_init(|| {
                let status = self.statuses.get(status).map_or("other".to_owned(), u16::to_string);
                self.total.with_label_values(&[method, route, &status, version])
            })
            .inc();
        self.durations[series]
            .get_or_init(|| self.duration.with_label_values(&[method, route, version]))
            .observe(elapsed.as_secs_f64());
        if let (Some(exemplars), Some(ids)) = (&self.exemplars, traced) {
            let labels = format!("method=\"{method}\",route=\"{route}\",version=\"{version}\"");
            let value = elapsed.as_secs_f64();
            exemplars.observe((DURATION, labels), &BUCKETS, Exemplar { ids, value });
        }
    }
}

/// Statuses with a label of their own: successes, and those of the catalogue of errors.
pub(crate) fn statuses() -> Vec<u16> {
    let mut statuses: Vec<u16> = with_page().map(|(entry, _)| entry.status.as_u16()).collect();
    statuses.extend(SUCCESSES);
    statuses.sort_unstable();
    statuses.dedup();
    statuses
}

/// The index of a label, or of the last one for an unknown label.
fn index_of(labels: &[impl AsRef<str>], label: &str) -> usize {
    labels.iter().position(|known| known.as_ref() == label).unwrap_or(labels.len() - 1)
}

/// The label of a method: clients may make up their own.
pub(crate) fn method_label(method: &Method) -> &'static str {
    METHODS[index_of(&METHODS, method.as_str())]
}

/// The label of a route: its template without the version, which has a label of its own.
pub(crate) fn route_label(matched: Option<&str>) -> &str {
    let unversioned =
        |path| ["/v1", "/v2"].iter().find_map(|version| str::strip_prefix(path, *version));
    matched.map_or(UNMATCHED, |path| unversioned(path).unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_client_sends_becomes_a_label() {
        let registry = Registry::new();
        let metrics = HttpMetrics::register(&registry, vec!["/checkout".to_owned()], None).unwrap();
        let method = Method::from_bytes(b"BREW").unwrap();

        metrics.count(&method, (Version::One, "/etc/passwd"), 299, (Duration::ZERO, None));

        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert!(text.contains(
            r#"http_requests_total{method="OTHER",route="unmatched",status="other",version="1"} 1"#
        ));
    }

    #[test]
    fn all_versions_of_a_route_have_one_label() {
        assert_eq!(route_label(Some("/v2/sales/active")), "/sales/active");
        assert_eq!(route_label(Some("/v1/checkout")), "/checkout");
        assert_eq!(route_label(Some("/checkout")), "/checkout");
        assert_eq!(route_label(None), "unmatched");
    }
}
