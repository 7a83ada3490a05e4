//! One of the diagrams that stand above each other on one time axis.

use std::fmt::Write;

use super::scale::{Scale, value_ticks};
use super::series::{Rates, real};
use super::svg::{Anchor, Canvas};

/// Least height of a bar, so that a single refusal can be seen.
const LEAST_HEIGHT: f64 = 1.5;
/// Distance of a title from its diagram.
const TITLE_ABOVE: f64 = 14.0;

/// A diagram: its place and its axes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Panel {
    pub(super) time: Scale,
    pub(super) value: Scale,
    /// Whether its values are counts, and not averages.
    pub(super) whole_numbers: bool,
}

impl Panel {
    /// Draws the lines behind the data, and the numbers beside them.
    pub(super) fn grid(&self, canvas: &mut Canvas, time_ticks: &[(f64, String)]) {
        for (at, _) in time_ticks {
            let x = self.time.place(*at);
            canvas.line((x, self.value.from), (x, self.value.to), "fs-grid");
        }
        for (value, text) in value_ticks(self.value.top, self.whole_numbers) {
            let y = self.value.place(value);
            if value > 0.0 {
                canvas.line((self.time.from, y), (self.time.to, y), "fs-grid");
            }
            canvas.label((self.time.from - 8.0, y + 4.5), Anchor::End, "fs-quiet", &text);
        }
        let base = self.value.from;
        canvas.line((self.time.from, base), (self.time.to, base), "fs-base");
    }

    /// Draws the title in the colour of the data, with a remark behind it.
    pub(super) fn title(&self, canvas: &mut Canvas, class: &str, (title, remark): (&str, &str)) {
        let (x, y) = (self.time.from, self.value.to - TITLE_ABOVE);
        let (title, remark) = (super::svg::escaped(title), super::svg::escaped(remark));
        canvas.add(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" class="fs-text fs-head {class}">{title}<tspan class="fs-quiet" dx="10">{remark}</tspan></text>"#
        ));
    }

    /// Draws rates as bars.
    pub(super) fn bars(&self, canvas: &mut Canvas, class: &str, rates: &Rates) {
        let mut path = String::new();
        for (bar, rate) in rates.bars.iter().enumerate().filter(|(_, rate)| **rate > 0.0) {
            let begin = real(i64::try_from(bar).unwrap_or(i64::MAX) * rates.width);
            let end = (begin + real(rates.width)).min(self.time.top);
            let (left, right) = (self.time.place(begin), self.time.place(end));
            // A gap between bars that have the room for it.
            let gap = if right - left > 10.0 { 1.0 } else { 0.0 };
            let base = self.value.from;
            let top = self.value.place(*rate).min(base - LEAST_HEIGHT);
            let _ = write!(path, "M{left:.1} {base:.1}V{top:.1}H{:.1}V{base:.1}Z", right - gap);
        }
        canvas.path(&path, class);
    }

    /// Draws points as a line with the area below it. Points that fall on the same pixel are drawn once.
    pub(super) fn curve(&self, canvas: &mut Canvas, points: &[(f64, f64)]) {
        let Some((last, before)) = points.split_last() else { return };
        let place = |point: &(f64, f64)| (self.time.place(point.0), self.value.place(point.1));
        let mut drawn: Vec<(f64, f64)> = Vec::new();
        for point in before.iter().map(place) {
            let is_near = |last: &(f64, f64)| {
                (point.0 - last.0).abs() < 0.5 && (point.1 - last.1).abs() < 0.5
            };
            if !drawn.last().is_some_and(is_near) {
                drawn.push(point);
            }
        }
        drawn.push(place(last));
        let mut line = String::new();
        for (number, (x, y)) in drawn.iter().enumerate() {
            let command = if number == 0 { 'M' } else { 'L' };
            let _ = write!(line, "{command}{x:.1} {y:.1}");
        }
        let (first, last) = (drawn.first().map_or(0.0, |p| p.0), drawn.last().map_or(0.0, |p| p.0));
        let base = self.value.from;
        canvas.path(&format!("{line}L{last:.1} {base:.1}L{first:.1} {base:.1}Z"), "fs-area");
        canvas.path(&line, "fs-line");
    }
}
