//! Axes: from values to positions, and the ticks that people read.

use crate::domain::number_text::thousands;

/// A unit of the time axis.
struct Unit {
    seconds: f64,
    /// Up to this length of the axis, in seconds.
    up_to: f64,
    name: &'static str,
    /// Distances of ticks that people count in.
    steps: &'static [f64],
}

const UNITS: [Unit; 3] = [
    Unit {
        seconds: 1.0,
        up_to: 600.0,
        name: "Seconds",
        steps: &[1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0],
    },
    Unit {
        seconds: 60.0,
        up_to: 21_600.0,
        name: "Minutes",
        steps: &[1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0],
    },
    Unit { seconds: 3_600.0, up_to: 259_200.0, name: "Hours", steps: &[1.0, 2.0, 3.0, 6.0, 12.0] },
];
const DAY: f64 = 86_400.0;
/// Most ticks of an axis.
const TIME_TICKS: f64 = 10.0;
const VALUE_TICKS: f64 = 4.0;

/// A linear axis from 0 to `top`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    pub(super) top: f64,
    /// Positions of 0 and of `top`.
    pub(super) from: f64,
    pub(super) to: f64,
}

impl Scale {
    pub(super) fn place(&self, value: f64) -> f64 {
        self.from + (self.to - self.from) * value / self.top
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that is at least this.
fn nice(at_least: f64) -> f64 {
    let power = 10_f64.powf(at_least.log10().floor());
    // Rounding of the logarithm must not choose a step that is smaller.
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps.into_iter().find(|step| *step >= at_least * 0.999_999).unwrap_or(10.0 * power)
}

/// Multiples of the step from 0 up to the top, as numbers and as texts.
fn multiples(step: f64, top: f64) -> Vec<(f64, String)> {
    let mut ticks = Vec::new();
    let mut count = 0.0;
    while count * step <= top * 1.000_001 {
        ticks.push((count * step, number(count * step)));
        count += 1.0;
    }
    ticks
}

/// Ticks of an axis of values.
pub(super) fn value_ticks(top: f64, whole_numbers: bool) -> Vec<(f64, String)> {
    let step = nice(top / VALUE_TICKS);
    multiples(if whole_numbers { step.max(1.0) } else { step }, top)
}

/// Ticks of a time axis of this many seconds, in the unit that fits, and the unit's name. Their numbers are seconds.
pub(super) fn time_ticks(seconds: f64) -> (Vec<(f64, String)>, &'static str) {
    let fitting = UNITS.iter().find(|unit| seconds <= unit.up_to);
    let (unit, name, step) = match fitting {
        Some(Unit { seconds: unit, name, steps, .. }) => {
            let at_least = seconds / unit / TIME_TICKS;
            let step = steps.iter().find(|step| **step >= at_least).copied();
            (*unit, *name, step.unwrap_or(at_least))
        }
        None => (DAY, "Days", nice(seconds / DAY / TIME_TICKS).max(1.0)),
    };
    let ticks = multiples(step, seconds / unit);
    (ticks.into_iter().map(|(value, text)| (value * unit, text)).collect(), name)
}

/// A number with a comma between its thousands, and with decimals only below ten.
pub(super) fn number(value: f64) -> String {
    let rounded = value.round();
    if value >= 10.0 || (value - rounded).abs() < 1e-9 {
        // Values come from counts, which fit.
        #[expect(clippy::cast_possible_truncation, reason = "a count of the record")]
        return thousands(rounded as i64);
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(ticks: &[(f64, String)]) -> Vec<&str> {
        ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_numbers_up_to_the_top() {
        assert_eq!(texts(&value_ticks(1_000_000.0, true)), ["0", "500,000", "1,000,000"]);
        assert_eq!(texts(&value_ticks(4_348.0, true)), ["0", "2,000", "4,000"]);
        assert_eq!(texts(&value_ticks(3.0, true)), ["0", "1", "2", "3"]);
        assert_eq!(texts(&value_ticks(0.4, false)), ["0", "0.1", "0.2", "0.3", "0.4"]);
    }

    #[test]
    fn time_has_the_unit_of_its_length() {
        let (ticks, unit) = time_ticks(230.0);
        assert_eq!((texts(&ticks)[1], ticks.len(), unit), ("30", 8, "Seconds"));
        assert_eq!(time_ticks(3_600.0).1, "Minutes");
        let (ticks, unit) = time_ticks(86_400.0);
        assert_eq!(
            (texts(&ticks), unit),
            (vec!["0", "3", "6", "9", "12", "15", "18", "21", "24"], "Hours")
        );
        assert_eq!(time_ticks(1_000_000.0).1, "Days");
        assert_eq!(texts(&time_ticks(2.0).0), ["0", "1", "2"]);
    }

    #[test]
    fn a_value_has_its_place_between_the_ends() {
        let scale = Scale { top: 10.0, from: 100.0, to: 0.0 };

        assert!((scale.place(2.5) - 75.0).abs() < 1e-9);
    }
}
