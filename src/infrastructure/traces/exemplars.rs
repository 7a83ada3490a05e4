//! The last traced observation in each bucket of a histogram, so that a slow bucket leads to a trace.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::span::Ids;

/// A traced observation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Exemplar {
    pub(crate) ids: Ids,
    pub(crate) value: f64,
}

/// Exemplars by metric, labels and bucket: as many at most as the metrics have buckets, whose labels come from fixed lists.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exemplars {
    last: Arc<Mutex<BTreeMap<Series, BTreeMap<usize, Exemplar>>>>,
}

/// The metric's name and its labels, as in the text format.
type Series = (&'static str, String);

impl Exemplars {
    /// Remembers an observation. `bounds` are those of the metric's buckets; `labels` are written as in the text format.
    pub(crate) fn observe(&self, series: Series, bounds: &[f64], exemplar: Exemplar) {
        let bucket = bounds.partition_point(|bound| *bound < exemplar.value);
        self.lock().entry(series).or_default().insert(bucket, exemplar);
    }

    /// The last observation in a bucket of a series.
    pub(crate) fn last(&self, (metric, labels): (&str, &str), bucket: usize) -> Option<Exemplar> {
        let last = self.lock();
        let mut series = last.iter().filter(|((name, of), _)| *name == metric && of == labels);
        series.next()?.1.get(&bucket).copied()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Series, BTreeMap<usize, Exemplar>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
