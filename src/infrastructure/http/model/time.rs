//! The format of times in responses.

use chrono::{DateTime, SecondsFormat, Utc};

/// RFC 3339 in UTC, with no more digits of a second than are needed.
pub(crate) fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
