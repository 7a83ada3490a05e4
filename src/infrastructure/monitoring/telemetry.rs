//! Logs on standard error: JSON lines or readable text. Every JSON line names the service and the instance.

use std::io::IsTerminal;

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::slow_statements::SlowStatements;
use crate::config::{LogConfig, LogFormat};
use crate::infrastructure::traces::{Ids, current_ids};

/// Maximum number of lines waiting to be written; further ones are dropped, because a request must not wait for its log.
const BUFFERED_LINES: usize = 65_536;

/// Logging cannot start.
#[derive(Debug, thiserror::Error)]
#[error("log.level: {0}")]
pub(crate) struct InvalidLog(String);

/// Writes the waiting lines when it is dropped.
pub(crate) struct LogGuard {
    _worker: WorkerGuard,
}

/// The level of the log, which changes while it runs.
#[derive(Debug, Clone)]
pub(crate) struct LogLevel {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl LogLevel {
    /// Logs from this level on.
    pub(crate) fn set(&self, level: &str) -> Result<(), InvalidLog> {
        self.filter.reload(filter(level)?).map_err(|error| InvalidLog(error.to_string()))
    }
}

/// Starts logging for this process.
pub(crate) fn init_logging(
    config: &LogConfig,
    instance: &str,
    slow: SlowStatements,
) -> Result<(LogGuard, LogLevel), InvalidLog> {
    let (filter, handle) = reload::Layer::new(filter(&config.level)?);
    let (writer, worker) = NonBlockingBuilder::default()
        .buffered_lines_limit(BUFFERED_LINES)
        .lossy(true)
        .finish(std::io::stderr());
    let is_pretty = match config.format {
        LogFormat::Pretty => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = if is_pretty {
        lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).boxed()
    } else {
        lines.event_format(JsonLine { instance: instance.to_owned() }).boxed()
    };
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter));
    let subscriber = subscriber.with(slow.with_filter(SlowStatements::filter()));
    subscriber.try_init().map_err(|error| InvalidLog(error.to_string()))?;
    Ok((LogGuard { _worker: worker }, LogLevel { filter: handle }))
}

fn filter(level: &str) -> Result<EnvFilter, InvalidLog> {
    let level = with_quiet_driver(level);
    EnvFilter::try_new(level).map_err(|error| InvalidLog(error.to_string()))
}

/// sqlx logs the text of each slow statement. What matters of that is logged here; an operator who wants the rest says so:
/// `info,sqlx::query=warn`.
fn with_quiet_driver(level: &str) -> String {
    if level.contains("sqlx::query") {
        level.to_owned()
    } else {
        format!("{level},sqlx::query=off")
    }
}

/// One flat JSON object for each line: the fixed fields first, then those of the event.
struct JsonLine {
    instance: String,
}

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut line = Map::new();
        let mut time = String::new();
        let _ = tracing_subscriber::fmt::time::FormatTime::format_time(
            &tracing_subscriber::fmt::time::SystemTime,
            &mut Writer::new(&mut time),
        );
        line.insert("timestamp".into(), json!(time));
        line.insert("level".into(), json!(event.metadata().level().as_str()));
        line.insert("message".into(), fields.message.unwrap_or_default().into());
        line.insert("service".into(), json!("flash-sale"));
        line.insert("instance".into(), json!(self.instance));
        line.insert("target".into(), json!(event.metadata().target()));
        if let Some(Ids { trace, span }) = current_ids() {
            line.insert("trace_id".into(), json!(trace.to_string()));
            line.insert("span_id".into(), json!(span.to_string()));
        }
        if let Some(span) = context.lookup_current()
            && let Some(formatted) = span.extensions().get::<FormattedFields<N>>()
            && !formatted.is_empty()
        {
            line.insert("span".into(), json!(formatted.as_str()));
        }
        for (name, value) in fields.others {
            line.entry(name).or_insert(value);
        }
        writeln!(writer, "{}", Value::Object(line))
    }
}

/// Collects the fields of an event.
#[derive(Default)]
struct Fields {
    message: Option<String>,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.others.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = Some(text);
        } else {
            self.put(field, text.into());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = Some(value.to_owned());
        } else {
            self.put(field, value.into());
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}
