//! The result of a run.

use std::time::Duration;

use super::error::GeneratorError;
use super::tally::{self, Tally};
use super::traffic::Class;

/// The result of a run.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// Counts and latencies.
    pub(crate) tally: Tally,
    /// Time that counted: the window, or less if the last response came before its end.
    pub(crate) elapsed: Duration,
    /// CPU time of the generator's threads within the window.
    pub(crate) generator_cpu: Duration,
    /// Number of the generator's threads.
    pub(crate) threads: usize,
    /// Number of connections that the service closed, or that broke, and that were opened again.
    pub(crate) reopened: u64,
}

impl Load {
    /// Responses of these classes a second.
    pub(crate) fn rate(&self, classes: &[Class]) -> f64 {
        let answers: u64 = classes.iter().map(|class| self.tally.count(*class)).sum();
        tally::float(answers) / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// Adds another thread's result in the same window.
    pub(super) fn absorb(&mut self, other: &Self) -> Result<(), GeneratorError> {
        self.tally.absorb(&other.tally)?;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.generator_cpu += other.generator_cpu;
        self.threads += other.threads;
        self.reopened += other.reopened;
        Ok(())
    }
}
