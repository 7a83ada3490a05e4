//! Elements of SVG as text.

use std::fmt::{Display, Write};

/// Text with the characters that have a meaning in XML escaped.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML allows no other controls, escaped or not.
            letter if letter.is_control() => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// Where a text stands relative to its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// A picture that is being written.
#[derive(Debug, Default)]
pub(super) struct Canvas {
    pub(super) text: String,
}

impl Canvas {
    /// Adds an element.
    pub(super) fn add(&mut self, element: impl Display) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "{element}");
    }

    /// Adds a text; `content` is escaped here.
    pub(super) fn label(&mut self, (x, y): (f64, f64), anchor: Anchor, class: &str, content: &str) {
        let (anchor, content) = (anchor.as_str(), escaped(content));
        self.add(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" class="fs-text {class}" text-anchor="{anchor}">{content}</text>"#
        ));
    }

    /// Adds a straight line.
    pub(super) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), class: &str) {
        self.add(format_args!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" class="{class}"/>"#
        ));
    }

    /// Adds a path; an empty one is left out.
    pub(super) fn path(&mut self, data: &str, class: &str) {
        if !data.is_empty() {
            self.add(format_args!(r#"<path d="{data}" class="{class}"/>"#));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_become_markup() {
        assert_eq!(
            escaped("<b a=\"1\">R&D</b>\u{1}"),
            "&lt;b a=&quot;1&quot;&gt;R&amp;D&lt;/b&gt; "
        );
    }
}
