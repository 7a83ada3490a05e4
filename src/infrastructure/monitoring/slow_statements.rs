//! The log of slow statements: their names and fingerprints, in place of their texts.
//!
//! The driver measures each statement and reports those that took `database.slow_statement` or longer, with their text. This layer
//! turns such a report into a line that names the statement as `flash-sale explain` does.

use std::fmt::{Debug, Formatter};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::layer::Context;

/// What the driver reports statements under.
const TARGET: &str = "sqlx::query";

/// Logs slow statements.
pub(crate) struct SlowStatements {
    /// The name and the fingerprint of a statement.
    recognise: fn(&str) -> (&'static str, String),
    budget: Budget,
}

/// Whether a line may be written now; then how many were left out before it.
pub(crate) type Budget = Box<dyn Fn() -> Option<u64> + Send + Sync>;

impl SlowStatements {
    pub(crate) fn new(recognise: fn(&str) -> (&'static str, String), budget: Budget) -> Self {
        Self { recognise, budget }
    }

    /// The events that it wants. It costs the others nothing.
    pub(crate) fn filter() -> FilterFn {
        let is_report = |metadata: &Metadata<'_>| {
            metadata.target() == TARGET && *metadata.level() == Level::WARN
        };
        FilterFn::new(is_report as fn(&Metadata<'_>) -> bool).with_max_level_hint(LevelFilter::WARN)
    }
}

impl<S: Subscriber> Layer<S> for SlowStatements {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut report = Report::default();
        event.record(&mut report);
        let Some(left_out) = (self.budget)() else { return };
        let (statement, fingerprint) = (self.recognise)(report.statement());
        let elapsed_ms = (report.elapsed_secs * 1e6).round() / 1e3;
        if left_out == 0 {
            tracing::warn!(statement, fingerprint, elapsed_ms, "slow statement");
        } else {
            tracing::warn!(statement, fingerprint, elapsed_ms, left_out, "slow statement");
        }
    }
}

impl Debug for SlowStatements {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlowStatements").finish_non_exhaustive()
    }
}

/// What the driver reports.
#[derive(Debug, Default)]
struct Report {
    summary: String,
    /// Empty where the summary is the whole statement.
    text: String,
    elapsed_secs: f64,
}

impl Report {
    fn statement(&self) -> &str {
        if self.text.trim().is_empty() { &self.summary } else { &self.text }
    }
}

impl Visit for Report {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.text),
            _ => {}
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "elapsed_secs" {
            self.elapsed_secs = value;
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}
