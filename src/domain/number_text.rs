//! Numbers and spans of time as people read them.

/// A whole number with a comma between its thousands: `1,234,567`.
#[must_use]
pub fn thousands(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    if number < 0 {
        text.push('-');
    }
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A span in the units that its length suggests: `12.3 s`, `3 min 50 s`, `1 h 2 min`, `2 d 4 h`. Parts of the smallest unit are
/// cut off.
#[must_use]
pub fn span(milliseconds: i64) -> String {
    let (seconds, tenths) = (milliseconds / 1_000, milliseconds / 100 % 10);
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match () {
        () if minutes == 0 => format!("{seconds}.{tenths} s"),
        () if hours == 0 => format!("{minutes} min {} s", seconds % 60),
        () if days == 0 => format!("{hours} h {} min", minutes % 60),
        () => format!("{} d {} h", thousands(days), hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (-12_345, "-12,345"),
            (1_234_567, "1,234,567"),
            (i64::MIN, "-9,223,372,036,854,775,808"),
        ] {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn a_span_has_two_units_at_most() {
        for (milliseconds, text) in [
            (0, "0.0 s"),
            (12_399, "12.3 s"),
            (59_999, "59.9 s"),
            (230_119, "3 min 50 s"),
            (3_720_000, "1 h 2 min"),
            (187_200_000, "2 d 4 h"),
        ] {
            assert_eq!(span(milliseconds), text);
        }
    }
}
