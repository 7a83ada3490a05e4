//! The picture of a sale's report: its figures, the curve of sold pieces, and what was sold and refused in each second.

use super::panel::Panel;
use super::scale::{Scale, number, time_ticks, value_ticks};
use super::series::{Rates, drawn_seconds, real, sold_curve};
use super::svg::{Anchor, Canvas, escaped};
use crate::domain::number_text::{span, thousands};
use crate::domain::sale_report::SaleReport;

const STYLE: &str = include_str!("style.css");

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 676.0;
const MARGIN: f64 = 28.0;
/// Tops and bottoms of the diagrams.
const SOLD: (f64, f64) = (196.0, 366.0);
const SOLD_RATE: (f64, f64) = (414.0, 494.0);
const REFUSED_RATE: (f64, f64) = (542.0, 612.0);
/// Width of a character of the numbers beside a diagram, at most.
const CHARACTER: f64 = 7.8;
/// Longest name that fits, in characters. The text alternative has all of it.
const NAME_CHARS: usize = 64;

/// Draws the report.
pub(crate) fn sale_picture(report: &SaleReport) -> String {
    let picture = Picture::new(report);
    let mut canvas = Canvas::default();
    picture.head(&mut canvas);
    picture.figures(&mut canvas);
    picture.sold(&mut canvas);
    picture.rates(&mut canvas);
    picture.time_axis(&mut canvas);
    picture.whole(&canvas)
}

/// The length of a bar, in its largest whole unit.
fn length(seconds: i64) -> String {
    match seconds {
        _ if seconds % 86_400 == 0 => format!("{} d", seconds / 86_400),
        _ if seconds % 3_600 == 0 => format!("{} h", seconds / 3_600),
        _ if seconds % 60 == 0 => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

/// What the parts of the picture share.
struct Picture<'r> {
    report: &'r SaleReport,
    seconds: i64,
    time: Scale,
    /// Highest number on the axis of the curve.
    highest: i64,
    sold: Rates,
    refused: Rates,
}

impl<'r> Picture<'r> {
    fn new(report: &'r SaleReport) -> Self {
        let seconds = drawn_seconds(report);
        let sold = Rates::of(report, seconds, |interval| interval.sold);
        let refused = Rates::of(report, seconds, |interval| interval.refusals);
        // With few pieces sold, all pieces would leave the curve flat.
        let shows_all = report.sold == 0 || report.sold.saturating_mul(2) >= report.pieces;
        let highest = if shows_all { report.pieces.max(report.sold) } else { report.sold }.max(1);
        let longest = [real(highest), sold.highest(), refused.highest()]
            .into_iter()
            .flat_map(|top| value_ticks(top.max(1.0), true))
            .map(|(_, text)| text.len())
            .max();
        let left = MARGIN + CHARACTER * f64::from(u32::try_from(longest.unwrap_or(0)).unwrap_or(0));
        let time = Scale { top: real(seconds), from: left + 8.0, to: WIDTH - MARGIN };
        Self { report, seconds, time, highest, sold, refused }
    }

    /// The name of the sale and its window.
    fn head(&self, canvas: &mut Canvas) {
        let mut name: String = self.report.name.chars().take(NAME_CHARS).collect();
        if name.len() < self.report.name.len() {
            name.push('…');
        }
        canvas.label((MARGIN, 44.0), Anchor::Start, "fs-name", &name);
        canvas.label((MARGIN, 68.0), Anchor::Start, "fs-quiet", &self.subtitle());
    }

    fn subtitle(&self) -> String {
        let SaleReport { sale, window, as_of, is_final, .. } = self.report;
        let (starts_at, ends_at) = (window.starts_at(), window.ends_at());
        let is_one_day = starts_at.date_naive() == ends_at.date_naive();
        let end = ends_at.format(if is_one_day { "%H:%M:%S" } else { "%-d %B %Y, %H:%M:%S" });
        let state = if *is_final {
            "final report".to_owned()
        } else {
            format!("so far, as of {} UTC", as_of.format("%-d %B %Y, %H:%M:%S"))
        };
        format!("{sale} · {} to {end} UTC · {state}", starts_at.format("%-d %B %Y, %H:%M:%S"))
    }

    /// The figures that matter most, in a row.
    fn figures(&self, canvas: &mut Canvas) {
        let report = self.report;
        let sold_out = report
            .time_to_sell_out()
            .map(|time| (span(time.num_milliseconds()), "until sold out".to_owned()));
        let left = || {
            let left = (report.pieces - report.sold).max(0);
            (thousands(left), "pieces left".to_owned())
        };
        let peak = report.peak.map_or(0, |peak| peak.sold);
        let figures = [
            (thousands(report.sold), format!("of {} pieces sold", thousands(report.pieces))),
            sold_out.unwrap_or_else(left),
            (thousands(report.buyers), "buyers".to_owned()),
            (thousands(peak), "most pieces in a second".to_owned()),
            (thousands(report.refused()), "refusals".to_owned()),
        ];
        let column = (WIDTH - 2.0 * MARGIN) / 5.0;
        let mut x = MARGIN;
        for (value, label) in figures {
            canvas.label((x, 116.0), Anchor::Start, "fs-value", &value);
            canvas.label((x, 136.0), Anchor::Start, "fs-quiet", &label);
            x += column;
        }
    }

    /// The curve of sold pieces.
    fn sold(&self, canvas: &mut Canvas) {
        let (top, bottom) = SOLD;
        let value = Scale { top: real(self.highest), from: bottom, to: top };
        let panel = Panel { time: self.time, value, whole_numbers: true };
        panel.grid(canvas, &self.ticks());
        if self.report.sold == 0 {
            let text =
                if self.report.is_final { "nothing was sold" } else { "nothing is sold yet" };
            let middle = (f64::midpoint(self.time.from, self.time.to), f64::midpoint(top, bottom));
            canvas.label(middle, Anchor::Middle, "fs-quiet", text);
        } else {
            panel.curve(canvas, &sold_curve(self.report, self.seconds));
        }
        panel.title(canvas, "fs-sold", ("Pieces sold since the start", ""));
        self.mark_sold_out(canvas);
    }

    /// The moment at which nothing was left, through all diagrams.
    fn mark_sold_out(&self, canvas: &mut Canvas) {
        let Some(time) = self.report.time_to_sell_out() else { return };
        let milliseconds = time.num_milliseconds();
        let x = self.time.place((real(milliseconds) / 1_000.0).min(self.time.top));
        for (top, bottom) in [(SOLD.0 - 6.0, SOLD.1), SOLD_RATE, REFUSED_RATE] {
            canvas.line((x, top), (x, bottom), "fs-mark");
        }
        let text = format!("sold out after {}", span(milliseconds));
        // Beside the title, which stands at the left.
        let is_left = x < f64::midpoint(self.time.from, self.time.to);
        let (x, anchor) =
            if is_left { (x.max(self.time.from + 230.0), Anchor::Start) } else { (x, Anchor::End) };
        canvas.label((x, SOLD.0 - 14.0), anchor, "fs-text", &text);
    }

    /// What was sold and refused in each second.
    fn rates(&self, canvas: &mut Canvas) {
        let sold = (SOLD_RATE, &self.sold, "Pieces sold", self.sold_remark());
        let refused = (REFUSED_RATE, &self.refused, "Refusals", self.refused_remark());
        for (((top, bottom), rates, title, remark), class) in
            [(sold, "fs-sold"), (refused, "fs-refused")]
        {
            let highest = rates.highest();
            let value =
                Scale { top: if highest > 0.0 { highest } else { 1.0 }, from: bottom, to: top };
            let whole_numbers = rates.width == 1 || highest <= 0.0;
            let panel = Panel { time: self.time, value, whole_numbers };
            panel.grid(canvas, &self.ticks());
            panel.bars(canvas, class, rates);
            let average = match rates.width {
                1 => String::new(),
                width => format!(", averages of {}", length(width)),
            };
            panel.title(canvas, class, (&format!("{title} per second{average}"), &remark));
        }
    }

    fn sold_remark(&self) -> String {
        let Some(peak) = self.report.peak else { return String::new() };
        let most = format!("most {} in second {}", thousands(peak.sold), thousands(peak.second));
        match self.report.slowest {
            Some(slowest) if slowest.seconds == 1 && slowest.second != peak.second => format!(
                "{most}, least {} in second {}",
                thousands(slowest.sold),
                thousands(slowest.second)
            ),
            _ => most,
        }
    }

    /// How much of the refusals the bars show.
    fn refused_remark(&self) -> String {
        let report = self.report;
        let mut remarks = Vec::new();
        if report.refusals_detailed < report.refused() {
            let detailed = thousands(report.refusals_detailed);
            remarks.push(format!("{detailed} of {} with a time", thousands(report.refused())));
        }
        if self.refused.behind > 0 {
            remarks.push(format!("{} later than shown", thousands(self.refused.behind)));
        }
        remarks.join(", ")
    }

    fn time_axis(&self, canvas: &mut Canvas) {
        let (ticks, unit) = time_ticks(self.time.top);
        let bottom = REFUSED_RATE.1;
        for (at, text) in ticks {
            canvas.label((self.time.place(at), bottom + 20.0), Anchor::Middle, "fs-quiet", &text);
        }
        let start = self.report.window.starts_at().format("%H:%M:%S");
        let text = format!("{unit} since the start at {start} UTC");
        let middle = f64::midpoint(self.time.from, self.time.to);
        canvas.label((middle, bottom + 44.0), Anchor::Middle, "fs-quiet", &text);
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        time_ticks(self.time.top).0
    }

    /// The document round the drawn parts.
    fn whole(&self, canvas: &Canvas) -> String {
        let id = format!("report-{}", self.report.sale);
        let title = escaped(&format!("{}: report of the sale", self.report.name));
        let (description, parts) = (escaped(&self.description()), &canvas.text);
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" aria-labelledby="{id}-title {id}-desc">
<title id="{id}-title">{title}</title>
<desc id="{id}-desc">{description}</desc>
<style>
{STYLE}</style>
<rect width="{WIDTH}" height="{HEIGHT}" class="fs-back"/>
{parts}</svg>"#
        )
    }

    /// What the picture shows, in words.
    fn description(&self) -> String {
        let report = self.report;
        let mut sentences = vec![
            self.subtitle(),
            format!(
                "{} of {} pieces were sold in {} purchases to {} buyers, from {} checkouts",
                thousands(report.sold),
                thousands(report.pieces),
                thousands(report.purchases),
                thousands(report.buyers),
                thousands(report.checkouts),
            ),
        ];
        if let Some(time) = report.time_to_sell_out() {
            let time = span(time.num_milliseconds());
            sentences.push(format!("The last piece was sold {time} after the start"));
        }
        if report.peak.is_some() {
            sentences.push(format!("Pieces sold per second: {}", self.sold_remark()));
        }
        let reasons = report.refusals.iter();
        let reasons: Vec<String> =
            reasons.map(|(reason, times)| format!("{reason} {}", thousands(*times))).collect();
        sentences.push(match reasons.as_slice() {
            [] => "Nothing was refused".to_owned(),
            reasons => {
                let highest = number(self.refused.highest());
                format!(
                    "{} refusals ({}), at most {highest} with a time in a second",
                    thousands(report.refused()),
                    reasons.join(", ")
                )
            }
        });
        sentences.join(". ") + "."
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::sale::SaleWindow;
    use crate::domain::sale_report::{Interval, Peak};
    use crate::testing::builders::{at, sale_id};

    const DAY: Duration = Duration::from_hours(24);

    /// A sold-out sale of ten seconds: 100 pieces a second, then 40 in the last one; refusals from the fifth second on.
    fn a_report() -> SaleReport {
        let interval = |second: i64| Interval {
            second,
            seconds: 1,
            sold: if second < 10 { 100 } else { 40 * i64::from(second == 10) },
            purchases: 1,
            checkouts: 1,
            refusals: if second < 5 { 0 } else { 2_500 },
        };
        SaleReport {
            sale: sale_id(7),
            name: "Socks <& shoes>".to_owned(),
            window: SaleWindow::lasting(at(0), Duration::from_hours(1)).unwrap(),
            as_of: at(3_700),
            is_final: true,
            pieces: 1_040,
            cancelled: 0,
            sold: 1_040,
            buyers: 900,
            checkouts: 2_000,
            purchases: 1_000,
            unsuccessful: 3,
            refusals: [("item_sold_out".to_owned(), 1_234_567)].into(),
            refusals_detailed: 40_000,
            sold_out_at: Some(at(10)),
            peak: Some(Peak { second: 0, sold: 100 }),
            slowest: Some(interval(1)),
            intervals: (0..20).map(interval).collect(),
        }
    }

    /// Fails unless each element is closed in order: then a browser shows the picture, and no part of it is missing.
    fn assert_well_formed(svg: &str) {
        let mut open = Vec::new();
        for tag in svg.split('<').skip(1) {
            let (tag, text) = tag.split_once('>').expect("a tag ends");
            assert!(!text.contains('>'), "{text}");
            let name = tag.trim_start_matches('/').split(' ').next().unwrap();
            match tag {
                _ if tag.starts_with('/') => assert_eq!(open.pop(), Some(name), "{tag}"),
                _ if tag.ends_with('/') => {}
                _ => open.push(name),
            }
        }
        assert_eq!(open, Vec::<&str>::new());
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn it_says_in_words_what_it_shows() {
        let svg = sale_picture(&a_report());

        assert_well_formed(&svg);
        assert!(svg.contains(r#"role="img" aria-labelledby="report-S-7-title report-S-7-desc""#));
        assert!(svg.contains(
            "1,040 of 1,040 pieces were sold in 1,000 purchases to 900 buyers, from 2,000 checkouts"
        ));
        assert!(svg.contains("1,234,567 refusals (item_sold_out 1,234,567)"), "{svg}");
        assert!(svg.contains("prefers-color-scheme: dark"));
    }

    #[test]
    fn a_name_is_text_and_a_long_one_is_cut_in_the_picture_alone() {
        let long = "x".repeat(200);
        let named = sale_picture(&a_report());
        let cut = sale_picture(&SaleReport { name: long.clone(), ..a_report() });

        assert!(named.contains("Socks &lt;&amp; shoes&gt;"));
        assert_eq!(cut.matches(&long).count(), 1, "the text alternative");
        assert!(cut.contains(&format!("{}…", "x".repeat(NAME_CHARS))));
    }

    #[test]
    fn labels_say_what_the_bars_leave_out() {
        let svg = sale_picture(&a_report());

        assert!(svg.contains("40,000 of 1,234,567 with a time"));
        // The axis ends soon after the last piece was sold, at second 12.
        assert!(svg.contains("17,500 later than shown"), "{svg}");
        assert!(svg.contains("sold out after 10.0 s"));
    }

    #[test]
    fn sales_without_anything_and_sales_of_days_have_a_picture() {
        let nothing = SaleReport {
            sold: 0,
            sold_out_at: None,
            peak: None,
            slowest: None,
            refusals: [].into(),
            refusals_detailed: 0,
            intervals: Vec::new(),
            is_final: false,
            as_of: at(-100),
            ..a_report()
        };
        let wide = |number: i64| Interval {
            second: 1_800 + number * 600,
            seconds: 600,
            sold: 1,
            purchases: 1,
            checkouts: 1,
            refusals: 1,
        };
        let long = SaleReport {
            window: SaleWindow::lasting(at(0), DAY * 7).unwrap(),
            as_of: at(700_000),
            sold: 1_000,
            sold_out_at: None,
            intervals: (0..1_000).map(wide).collect(),
            ..a_report()
        };

        let (nothing, long) = (sale_picture(&nothing), sale_picture(&long));

        assert_well_formed(&nothing);
        assert!(nothing.contains("nothing is sold yet") && nothing.contains("Nothing was refused"));
        assert_well_formed(&long);
        assert!(
            long.contains("Days since the start") && long.contains("averages of 1 h"),
            "{long}"
        );
    }
}
