//! Moments as people write them: RFC 3339, with errors that say what is missing. Lengths of time, as they are configured.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, SecondsFormat, Utc};

/// Why a text is not a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMoment {
    /// It has a date and a time, and no zone.
    #[error("needs a time zone: Z at the end for UTC, or an offset such as +01:00")]
    NoZone,
    /// Sixty seconds: this service counts none, so the moment would be another one.
    #[error("has a leap second, which no clock of a sale counts: seconds go from 00 to 59")]
    LeapSecond,
    /// Anything else.
    #[error("must be a time such as 2027-01-31T18:00:00Z")]
    Malformed,
}

/// A moment in RFC 3339, in UTC, with no more digits of a second than are needed.
#[must_use]
pub fn rfc3339(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// Parses a moment of RFC 3339.
pub fn parse_moment(text: &str) -> Result<DateTime<Utc>, InvalidMoment> {
    let Ok(moment) = DateTime::parse_from_rfc3339(text) else {
        let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M"];
        let has_no_zone =
            formats.iter().any(|format| NaiveDateTime::parse_from_str(text, format).is_ok());
        return Err(if has_no_zone { InvalidMoment::NoZone } else { InvalidMoment::Malformed });
    };
    let moment = moment.to_utc();
    // The library counts a leap second as more than a second of nanoseconds.
    if moment.timestamp_subsec_nanos() >= 1_000_000_000 {
        return Err(InvalidMoment::LeapSecond);
    }
    Ok(moment)
}

/// A length of time in its largest whole unit, as configurations are written: `90d`, `36h`, `1500ms`.
#[must_use]
pub fn length(time: Duration) -> String {
    const UNITS: [(&str, u128); 4] =
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    let ms = time.as_millis();
    let unit = UNITS.iter().find(|(_, size)| ms >= *size && ms.is_multiple_of(*size));
    unit.map_or_else(|| format!("{ms}ms"), |(name, size)| format!("{}{name}", ms / size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_in_its_largest_whole_unit() {
        let lengths = [
            (7_776_000_000, "90d"),
            (129_600_000, "36h"),
            (90_000, "90s"),
            (1_500, "1500ms"),
            (0, "0ms"),
        ];
        for (ms, text) in lengths {
            assert_eq!(length(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn a_moment_may_have_any_offset() {
        let moment = parse_moment("2026-12-24T18:00:00Z").unwrap();

        assert_eq!(parse_moment("2026-12-24T19:00:00+01:00"), Ok(moment));
        assert_eq!(parse_moment("2026-12-24t18:00:00.000z"), Ok(moment));
    }

    #[test]
    fn what_is_missing_is_said() {
        for (text, error) in [
            ("2026-12-24T18:00:00", InvalidMoment::NoZone),
            ("2026-12-24T18:00", InvalidMoment::NoZone),
            ("2026-12-24 18:00:00.5", InvalidMoment::NoZone),
            ("2026-12-24T18:00:60Z", InvalidMoment::LeapSecond),
            ("2026-12-24", InvalidMoment::Malformed),
            ("tomorrow", InvalidMoment::Malformed),
            ("", InvalidMoment::Malformed),
            ("2026-12-24T24:00:00Z", InvalidMoment::Malformed),
        ] {
            assert_eq!(parse_moment(text), Err(error), "{text}");
        }
    }
}
