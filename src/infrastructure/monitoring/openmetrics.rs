//! The metrics in the OpenMetrics format, with exemplars: the text format of `prometheus`, rewritten where the two differ. The
//! library itself has no exemplars.
//!
//! <https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>

use std::fmt::Write;

use prometheus::proto::{MetricFamily, MetricType};
use prometheus::{Result, TextEncoder};

use crate::infrastructure::traces::Exemplars;

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What a scraper names that reads it.
pub(super) const MEDIA_TYPE: &str = "application/openmetrics-text";

const TOTAL: &str = "_total";

/// Encodes these metrics.
pub(super) fn encode(families: &[MetricFamily], exemplars: &Exemplars) -> Result<String> {
    let mut out = String::new();
    for family in families {
        let text = TextEncoder::new().encode_to_string(std::slice::from_ref(family))?;
        match family.get_field_type() {
            MetricType::HISTOGRAM => histogram(&mut out, &text, (family.name(), exemplars)),
            MetricType::COUNTER => counter(&mut out, &text, family.name()),
            MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => {
                text.lines().for_each(|line| push(&mut out, line));
            }
        }
    }
    out.push_str("# EOF\n");
    Ok(out)
}

/// A help text escapes quotation marks, too.
fn push(out: &mut String, line: &str) {
    if line.starts_with("# HELP ") {
        out.push_str(&line.replace('"', "\\\""));
    } else {
        out.push_str(line);
    }
    out.push('\n');
}

/// The family of a counter is named without `_total`; without that suffix, it is none.
fn counter(out: &mut String, text: &str, name: &str) {
    let stem = name.strip_suffix(TOTAL);
    for line in text.lines() {
        let of_family = line.strip_prefix("# ").and_then(|line| {
            let (keyword, rest) = line.split_once(' ')?;
            Some((keyword, rest.strip_prefix(name)?))
        });
        match (of_family, stem) {
            (Some((keyword, rest)), Some(stem)) => push(out, &format!("# {keyword} {stem}{rest}")),
            (Some(("TYPE", _)), None) => push(out, &format!("# TYPE {name} unknown")),
            _ => push(out, line),
        }
    }
}

/// Bounds are written as floating-point numbers, and buckets have exemplars.
fn histogram(out: &mut String, text: &str, (name, exemplars): (&str, &Exemplars)) {
    let (mut series, mut bucket) = (String::new(), 0);
    for line in text.lines() {
        let Some((labels, bound, count)) = bucket_of(line, name) else {
            push(out, line);
            continue;
        };
        bucket = if labels == series { bucket + 1 } else { 0 };
        labels.clone_into(&mut series);
        let separator = if labels.is_empty() { "" } else { "," };
        let point = if bound.contains(['.', 'I', 'e']) { "" } else { ".0" };
        let _ = write!(out, "{name}_bucket{{{labels}{separator}le=\"{bound}{point}\"}} {count}");
        if let Some(exemplar) = exemplars.last((name, labels), bucket) {
            let (trace, span) = (exemplar.ids.trace, exemplar.ids.span);
            let _ =
                write!(out, " # {{trace_id=\"{trace}\",span_id=\"{span}\"}} {}", exemplar.value);
        }
        out.push('\n');
    }
}

/// The labels, the bound and the count of a line about a bucket.
fn bucket_of<'l>(line: &'l str, name: &str) -> Option<(&'l str, &'l str, &'l str)> {
    let rest = line.strip_prefix(name)?.strip_prefix("_bucket{")?;
    let (labels, count) = rest.rsplit_once("} ")?;
    let (labels, bound) = labels.rsplit_once("le=\"")?;
    Some((labels.trim_end_matches(','), bound.strip_suffix('"')?, count))
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, TraceId};
    use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, Registry};

    use super::*;
    use crate::infrastructure::traces::{Exemplar, Ids};

    const BOUNDS: [f64; 2] = [0.25, 1.0];

    #[test]
    fn a_bucket_has_its_last_traced_observation() {
        let registry = Registry::new();
        let options = HistogramOpts::new("took_seconds", "Time \"taken\".").buckets(BOUNDS.into());
        let histogram = HistogramVec::new(options, &["route"]).unwrap();
        registry.register(Box::new(histogram.clone())).unwrap();
        let exemplars = Exemplars::default();
        for (route, value, trace) in [("/a", 0.5, 1_u128), ("/a", 0.75, 2), ("/b", 5.0, 3)] {
            histogram.with_label_values(&[route]).observe(value);
            let ids = Ids { trace: TraceId::from(trace), span: SpanId::from(7_u64) };
            let series = ("took_seconds", format!("route=\"{route}\""));
            exemplars.observe(series, &BOUNDS, Exemplar { ids, value });
        }

        let text = encode(&registry.gather(), &exemplars).unwrap();

        let exemplar = |trace: u128, value: f64| {
            format!(" # {{trace_id=\"{trace:032x}\",span_id=\"{:016x}\"}} {value}", 7)
        };
        let expected = [
            "# HELP took_seconds Time \\\"taken\\\".".to_owned(),
            "# TYPE took_seconds histogram".to_owned(),
            "took_seconds_bucket{route=\"/a\",le=\"0.25\"} 0".to_owned(),
            format!("took_seconds_bucket{{route=\"/a\",le=\"1.0\"}} 2{}", exemplar(2, 0.75)),
            "took_seconds_bucket{route=\"/a\",le=\"+Inf\"} 2".to_owned(),
            "took_seconds_sum{route=\"/a\"} 1.25".to_owned(),
            "took_seconds_count{route=\"/a\"} 2".to_owned(),
            "took_seconds_bucket{route=\"/b\",le=\"0.25\"} 0".to_owned(),
            "took_seconds_bucket{route=\"/b\",le=\"1.0\"} 0".to_owned(),
            format!("took_seconds_bucket{{route=\"/b\",le=\"+Inf\"}} 1{}", exemplar(3, 5.0)),
            "took_seconds_sum{route=\"/b\"} 5".to_owned(),
            "took_seconds_count{route=\"/b\"} 1".to_owned(),
            "# EOF".to_owned(),
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_counters_family_is_named_without_its_suffix() {
        let registry = Registry::new();
        for name in ["sold_total", "lost"] {
            registry.register(Box::new(IntCounter::new(name, "Pieces.").unwrap())).unwrap();
        }
        let options = HistogramOpts::new("took_seconds", "Time.").buckets(vec![1.0]);
        registry.register(Box::new(Histogram::with_opts(options).unwrap())).unwrap();

        let text = encode(&registry.gather(), &Exemplars::default()).unwrap();

        for line in [
            "# HELP sold Pieces.",
            "# TYPE sold counter",
            "sold_total 0",
            "# TYPE lost unknown",
            "took_seconds_bucket{le=\"1.0\"} 0",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is missing in {text}");
        }
    }
}
