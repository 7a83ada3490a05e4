//! A buyer's standing as Redis keeps it: numbers with spaces between them. The version, the pieces bought, then item and
//! quantity of each line. One string, because a hash costs five commands where this costs one.

use std::fmt::Write;

use crate::application::ports::KnownStanding;

/// The text of a standing.
pub(crate) fn write(known: &KnownStanding) -> String {
    let mut text = String::with_capacity(32);
    // Writing to a string cannot fail.
    let _ = write!(text, "{} {}", known.version, known.standing.bought);
    for line in &known.standing.lines {
        let _ = write!(text, " {} {}", line.item.0, line.quantity.get());
    }
    text
}

/// Version, and pieces bought or collected; `None` for a text that nobody here has written.
pub(crate) fn read(text: &str) -> Option<(i64, i64)> {
    let mut numbers = text.split(' ').map(|number| number.parse::<i64>().ok());
    let version = numbers.next()??;
    let mut pieces = numbers.next()??;
    while let Some(_item) = numbers.next() {
        pieces = pieces.checked_add(numbers.next()??)?;
    }
    Some((version, pieces))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::checkout::Standing;
    use crate::testing::builders::{a_sale, buyer, line};

    #[test]
    fn what_was_written_is_read() {
        let (sale, buyer) = (Arc::new(a_sale(1)), buyer("ann"));
        let standing = Standing { lines: vec![line(7, 2), line(3, 1)], bought: 4 };

        let text = write(&KnownStanding { sale, buyer, standing, version: 99 });

        assert_eq!((text.as_str(), read(&text)), ("99 4 7 2 3 1", Some((99, 7))));
    }

    #[test]
    fn other_texts_are_nothing() {
        for text in ["", "1", "a b", "1 2 3", "1 2 3 x", "9223372036854775808 1"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
