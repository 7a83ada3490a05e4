//! Reads the Prometheus text format, as far as the tests need it.

use std::collections::BTreeSet;

/// The samples of `/metrics`.
#[derive(Debug)]
pub(crate) struct Metrics {
    samples: Vec<Sample>,
}

/// One line: name, the text between the braces, value.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: String,
    value: f64,
}

impl Metrics {
    /// Reads the text.
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        Self { samples: lines.map(Sample::parse).collect() }
    }

    /// All names.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.samples.iter().map(|sample| sample.name.as_str()).collect()
    }

    /// The sum of a metric's samples whose labels contain all of these texts.
    pub(crate) fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let matching = self.samples.iter().filter(|sample| {
            sample.name == name && labels.iter().all(|label| sample.labels.contains(label))
        });
        matching.map(|sample| sample.value).sum()
    }

    /// Whether a metric has a sample with this label, whatever its value.
    pub(crate) fn has_label(&self, name: &str, label: &str) -> bool {
        self.samples.iter().any(|sample| {
            sample.name == name
                && sample.labels.split(',').any(|pair| pair.starts_with(&format!("{label}=\"")))
        })
    }
}

impl Sample {
    fn parse(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        Self {
            name: name.to_owned(),
            labels: labels.trim_end_matches('}').to_owned(),
            value: value.parse().unwrap(),
        }
    }
}
