//! Times in commands: the database's clock, lengths, and how long instances take to read a change.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};

use super::failure::{COULD_NOT, Failure};
use crate::app::Offline;
use crate::config::Config;

/// Maximum delay of a poll of sales beyond its interval.
const POLL_MARGIN: Duration = Duration::from_millis(250);

/// Measures the database's clock.
pub(super) async fn database_now(offline: &Offline) -> Result<DateTime<Utc>, Failure> {
    offline.sales.live().await.map_err(|error| Failure::because(COULD_NOT, &error))?;
    let reading = offline.clock.database();
    Ok(reading.ok_or_else(|| Failure::new(COULD_NOT, "the database returned no time"))?.at)
}

/// A time in the output.
pub(super) fn text(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// Waits until every running instance has read the change, so that the command returns after that.
pub(super) async fn until_instances_know(config: &Config) {
    tokio::time::sleep(config.sale_cache.poll_interval + POLL_MARGIN).await;
}

/// Parses a length of time, more than none.
pub(super) fn parse_length(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("must be more than 0s".to_owned()),
        Ok(length) => Ok(length),
        Err(error) => Err(error.to_string()),
    }
}
