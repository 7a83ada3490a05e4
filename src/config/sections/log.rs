//! `log.*`: what is logged, and how.

use tracing_subscriber::EnvFilter;

use crate::config::reader::Reader;

/// `log.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct LogConfig {
    pub level: String,
    pub format: LogFormat,
    pub all_requests: bool,
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Human-readable text.
    Pretty,
    /// [`Self::Pretty`] on a terminal, else [`Self::Json`].
    Auto,
}

impl LogConfig {
    pub(crate) fn read(read: &mut Reader) -> Self {
        let formats =
            [("json", LogFormat::Json), ("pretty", LogFormat::Pretty), ("auto", LogFormat::Auto)];
        let requests = [("all", true), ("failures", false)];
        Self {
            level: level(read),
            format: read.choice("log.format", &formats).unwrap_or(LogFormat::Json),
            all_requests: read.choice("log.requests", &requests).unwrap_or(false),
        }
    }
}

fn level(read: &mut Reader) -> String {
    const KEY: &str = "log.level";
    let level = read.filled(KEY);
    if let Err(error) = EnvFilter::try_new(&level) {
        read.fault(KEY, error);
    }
    level
}
