//! A figure and its target.

/// A measured value, one for each run.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) scenario: &'static str,
    /// Its name, such as `checkouts, of bare`.
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    /// One value for each run; the median counts.
    pub(crate) runs: Vec<f64>,
    pub(crate) target: Target,
    /// A remark, such as the absolute figures behind a ratio.
    pub(crate) beside: String,
    /// Whether a run behind it failed or broke a promise.
    pub(crate) is_struck: bool,
}

/// What a figure must reach, and what it should reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    /// No target: it is for information.
    None,
    /// More is better.
    AtLeast { must: f64, aim: f64 },
    /// Less is better.
    AtMost { must: f64, aim: f64 },
}

impl Figure {
    /// A figure without a target.
    pub(crate) fn new(
        scenario: &'static str,
        what: &str,
        unit: &'static str,
        runs: Vec<f64>,
    ) -> Self {
        Self {
            scenario,
            what: what.to_owned(),
            unit,
            runs,
            target: Target::None,
            beside: String::new(),
            is_struck: false,
        }
    }

    /// Sets a lower bound.
    pub(crate) fn at_least(mut self, must: f64, aim: f64) -> Self {
        self.target = Target::AtLeast { must, aim };
        self
    }

    /// Sets an upper bound.
    pub(crate) fn at_most(mut self, must: f64, aim: f64) -> Self {
        self.target = Target::AtMost { must, aim };
        self
    }

    /// Adds a remark.
    pub(crate) fn beside(mut self, text: String) -> Self {
        self.beside = text;
        self
    }

    /// The value that counts.
    pub(crate) fn value(&self) -> f64 {
        median(&self.runs)
    }

    /// Whether it reaches `must` and `aim`; `None` without a target.
    pub(crate) fn reached(&self) -> Option<(bool, bool)> {
        let value = self.value();
        match self.target {
            Target::None => None,
            Target::AtLeast { must, aim } => Some((value >= must, value >= aim)),
            Target::AtMost { must, aim } => Some((value <= must, value <= aim)),
        }
    }

    /// The verdict in words.
    pub(crate) fn verdict(&self) -> &'static str {
        match self.reached() {
            _ if self.is_struck => "struck out",
            None => "",
            Some((_, true)) => "aim reached",
            Some((true, false)) => "reached",
            Some((false, false)) => "MISSED",
        }
    }

    /// The figure in one line.
    pub(crate) fn line(&self) -> String {
        let (value, unit) = (number(self.value()), self.unit);
        let text = format!("{:16} {:34} {value:>10} {unit:4}", self.scenario, self.what);
        format!("{text} {:12} {}", self.verdict(), self.beside).trim_end().to_owned()
    }
}

/// The middle value; of two in the middle, their mean. 0 without values.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.len() % 2) {
        (None, _) => 0.0,
        (Some(value), 1) => *value,
        (Some(value), _) => f64::midpoint(sorted[middle - 1], *value),
    }
}

/// With three significant digits, or all of the integer part.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000.0 => thousands(value),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
