//! Counts and latencies of a run.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::error::GeneratorError;
use super::traffic::{Class, Kind};

/// Longer latencies count as this one.
const LONGEST: Duration = Duration::from_mins(1);
/// Significant digits of a latency.
const DIGITS: u8 = 3;
/// Maximum number of failures that are described.
const EXAMPLES: usize = 5;
/// Progress is counted in slices of this length.
pub(crate) const SLICE: Duration = Duration::from_millis(100);

/// Counts and latencies of a run.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    counts: [[u64; Class::ALL.len()]; Kind::ALL.len()],
    /// Latencies in microseconds of accepted and refused requests.
    served: [Histogram<u64>; Kind::ALL.len()],
    /// Latencies in microseconds of 503s.
    shed: Histogram<u64>,
    /// Accepted requests, by the slice of the window in which they were answered.
    accepted: Vec<u64>,
    /// Requests of an open loop that could not be sent in time.
    pub(crate) unsent: u64,
    /// Descriptions of the first failures.
    pub(crate) examples: Vec<String>,
}

/// Latencies in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Tally {
    /// An empty one.
    pub(crate) fn new() -> Result<Self, GeneratorError> {
        Ok(Self {
            counts: Default::default(),
            served: [histogram()?, histogram()?, histogram()?],
            shed: histogram()?,
            accepted: Vec::new(),
            unsent: 0,
            examples: Vec::new(),
        })
    }

    /// Counts a response that came this long after the request was due, at this time of the window.
    pub(crate) fn record(&mut self, kind: Kind, class: Class, latency: Duration, at: Duration) {
        self.counts[kind as usize][class as usize] += 1;
        let micros = u64::try_from(latency.min(LONGEST).as_micros()).unwrap_or(u64::MAX);
        match class {
            Class::Accepted | Class::Refused => {
                self.served[kind as usize].saturating_record(micros);
            }
            Class::Shed => self.shed.saturating_record(micros),
            Class::Failed => {}
        }
        if class == Class::Accepted {
            let slice = usize::try_from(at.as_millis() / SLICE.as_millis()).unwrap_or(usize::MAX);
            if slice >= self.accepted.len() {
                self.accepted.resize(slice + 1, 0);
            }
            self.accepted[slice] += 1;
        }
    }

    /// Counts a failure, also outside the window.
    pub(crate) fn fail(&mut self, kind: Kind, what: impl FnOnce() -> String) {
        self.counts[kind as usize][Class::Failed as usize] += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(what());
        }
    }

    /// Adds another thread's counts.
    pub(crate) fn absorb(&mut self, other: &Self) -> Result<(), GeneratorError> {
        for (own, others) in self.counts.iter_mut().zip(&other.counts) {
            own.iter_mut().zip(others).for_each(|(own, others)| *own += others);
        }
        let histograms = self.served.iter_mut().chain([&mut self.shed]);
        for (own, others) in histograms.zip(other.served.iter().chain([&other.shed])) {
            own.add(others).map_err(|error| GeneratorError::Histogram(error.to_string()))?;
        }
        self.accepted.resize(self.accepted.len().max(other.accepted.len()), 0);
        self.accepted.iter_mut().zip(&other.accepted).for_each(|(own, others)| *own += others);
        self.unsent += other.unsent;
        let room = EXAMPLES.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.iter().take(room).cloned());
        Ok(())
    }

    /// Number of responses of a class.
    pub(crate) fn count(&self, class: Class) -> u64 {
        Kind::ALL.iter().map(|kind| self.count_of(*kind, class)).sum()
    }

    /// Number of responses of a class to a kind of request.
    pub(crate) fn count_of(&self, kind: Kind, class: Class) -> u64 {
        self.counts[kind as usize][class as usize]
    }

    /// Number of requests that were sent.
    pub(crate) fn requests(&self) -> u64 {
        Class::ALL.iter().map(|class| self.count(*class)).sum()
    }

    /// Latency of accepted and refused requests.
    pub(crate) fn served(&self) -> Latency {
        let [mut all, others @ ..] = self.served.clone();
        for other in others {
            // All have the same bounds, so no value can be out of range.
            let _ = all.add(other);
        }
        Latency::of(&all)
    }

    /// The same for one kind of request.
    pub(crate) fn served_of(&self, kind: Kind) -> Latency {
        Latency::of(&self.served[kind as usize])
    }

    /// Latency of 503s.
    pub(crate) fn shed(&self) -> Latency {
        Latency::of(&self.shed)
    }

    /// Accepted requests by [`SLICE`] of the window.
    pub(crate) fn accepted_by_slice(&self) -> &[u64] {
        &self.accepted
    }
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let millis = |micros: u64| float(micros) / 1_000.0;
        Self {
            p50: millis(histogram.value_at_quantile(0.5)),
            p99: millis(histogram.value_at_quantile(0.99)),
            p999: millis(histogram.value_at_quantile(0.999)),
            max: millis(histogram.max()),
        }
    }
}

fn histogram() -> Result<Histogram<u64>, GeneratorError> {
    let longest = u64::try_from(LONGEST.as_micros()).unwrap_or(u64::MAX);
    Histogram::new_with_bounds(1, longest, DIGITS)
        .map_err(|error| GeneratorError::Histogram(error.to_string()))
}

/// A count as a floating-point number.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}
