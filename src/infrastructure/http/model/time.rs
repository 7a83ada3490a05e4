//! The format of times in responses.

use chrono::{DateTime, Datelike, SecondsFormat, Timelike, Utc};

/// RFC 3339 in UTC, with no more digits of a second than are needed: none, three, six or nine.
pub(crate) fn rfc3339(time: DateTime<Utc>) -> String {
    let mut text = String::with_capacity("2027-01-31T16:00:00.123456Z".len());
    push_rfc3339(&mut text, time);
    text
}

/// Appends the same. For the years that have four digits without chrono's formatter, because every checkout has a time.
pub(crate) fn push_rfc3339(text: &mut String, time: DateTime<Utc>) {
    let (date, clock, nanos) = (time.date_naive(), time.time(), time.nanosecond());
    let (Ok(year @ 0..=9_999), 0..1_000_000_000) = (u32::try_from(date.year()), nanos) else {
        // Also a leap second.
        text.push_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true));
        return;
    };
    push_digits(text, year, 4);
    for (mark, number) in [
        ('-', date.month()),
        ('-', date.day()),
        ('T', clock.hour()),
        (':', clock.minute()),
        (':', clock.second()),
    ] {
        text.push(mark);
        push_digits(text, number, 2);
    }
    if nanos > 0 {
        text.push('.');
        match nanos {
            _ if nanos.is_multiple_of(1_000_000) => push_digits(text, nanos / 1_000_000, 3),
            _ if nanos.is_multiple_of(1_000) => push_digits(text, nanos / 1_000, 6),
            _ => push_digits(text, nanos, 9),
        }
    }
    text.push('Z');
}

/// Appends the last so many digits of a number, with leading zeros.
fn push_digits(text: &mut String, number: u32, digits: u32) {
    for place in (0..digits).rev() {
        let digit = number / 10_u32.pow(place) % 10;
        text.push(char::from_digit(digit, 10).unwrap_or('0'));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_as_chrono_writes_it(time: DateTime<Utc>) -> bool {
        rfc3339(time) == time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
    }

    proptest! {
        #[test]
        fn every_time_is_written_as_chrono_writes_it(
            seconds in -100_000_000_000_i64..300_000_000_000,
            nanos in prop_oneof![
                Just(0_u32), (0_u32..1_000).prop_map(|ms| ms * 1_000_000), (0_u32..1_000_000).prop_map(|us| us * 1_000),
                0_u32..2_000_000_000
            ],
        ) {
            let leap = if seconds.rem_euclid(60) == 59 { nanos } else { nanos % 1_000_000_000 };
            prop_assert!(is_as_chrono_writes_it(DateTime::from_timestamp(seconds, leap).unwrap()));
        }
    }

    #[test]
    fn the_ends_of_what_is_written_without_chrono() {
        for time in
            [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC, DateTime::<Utc>::UNIX_EPOCH]
        {
            assert!(is_as_chrono_writes_it(time), "{time}");
        }
    }
}
