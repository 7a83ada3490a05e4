//! A buyer's totals as Redis stores them: numbers separated by spaces. First the version and the pieces bought, then item and
//! quantity of each collected line. A string, because a hash would cost five commands instead of one.

use std::fmt::Write;

use crate::application::ports::CommittedTotals;

/// The stored text.
pub(crate) fn format(committed: &CommittedTotals) -> String {
    let mut text = String::with_capacity(32);
    // Writing to a string cannot fail.
    let _ = write!(text, "{} {}", committed.version, committed.totals.bought);
    for line in &committed.totals.lines {
        let _ = write!(text, " {} {}", line.item.0, line.quantity.get());
    }
    text
}

/// Version, and pieces bought or collected; `None` if [`format()`] cannot have written the text.
pub(crate) fn parse(text: &str) -> Option<(i64, i64)> {
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
    use crate::domain::checkout::BuyerTotals;
    use crate::testing::builders::{a_sale, buyer, line};

    #[test]
    fn what_was_written_is_read() {
        let (sale, buyer) = (Arc::new(a_sale(1)), buyer("ann"));
        let totals = BuyerTotals { lines: vec![line(7, 2), line(3, 1)], bought: 4 };

        let text = format(&CommittedTotals { sale, buyer, totals, version: 99 });

        assert_eq!((text.as_str(), parse(&text)), ("99 4 7 2 3 1", Some((99, 7))));
    }

    #[test]
    fn other_texts_are_ignored() {
        for text in ["", "1", "a b", "1 2 3", "1 2 3 x", "9223372036854775808 1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
