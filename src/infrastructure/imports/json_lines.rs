//! Items as JSON lines: an object a line.

use std::io::{BufRead, BufReader, Read};

use serde::Deserialize;
use serde_json::Number;

use super::bounded::MAX_RECORD_BYTES;
use crate::application::ports::{BoxError, ItemSource, ReadItem};
use crate::domain::import::{RawItem, Rejected};

/// Reads items from JSON lines.
pub(crate) struct JsonLines {
    reader: BufReader<Box<dyn Read + Send>>,
    line: u64,
    bytes: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    id: String,
    name: String,
    image_url: String,
    stock: Number,
}

impl JsonLines {
    pub(crate) fn new(input: Box<dyn Read + Send>) -> Self {
        Self { reader: BufReader::new(input), line: 0, bytes: Vec::new() }
    }

    /// Reads a line; `false` at the end. Of a line that is too long the rest is skipped.
    fn read_line(&mut self) -> std::io::Result<bool> {
        self.bytes.clear();
        self.line += 1;
        let limit = u64::try_from(MAX_RECORD_BYTES).unwrap_or(u64::MAX) + 1;
        let count = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.bytes)?;
        if self.is_too_long() {
            self.reader.skip_until(b'\n')?;
        }
        Ok(count > 0)
    }

    fn is_too_long(&self) -> bool {
        self.bytes.len() > MAX_RECORD_BYTES && self.bytes.last() != Some(&b'\n')
    }
}

impl ItemSource for JsonLines {
    fn next(&mut self) -> Result<Option<ReadItem>, BoxError> {
        while self.read_line()? {
            let line = self.line;
            let unreadable =
                |why| Ok(Some(ReadItem::Unreadable(Rejected { line, field: None, why })));
            if self.is_too_long() {
                return unreadable("must be at most 65536 bytes long");
            }
            if self.bytes.trim_ascii().is_empty() {
                continue;
            }
            let Ok(fields) = serde_json::from_slice::<Fields>(&self.bytes) else {
                return unreadable(
                    "must be an object with the texts id, name and image_url and the number stock",
                );
            };
            let Fields { id, name, image_url, stock } = fields;
            let stock = stock.to_string();
            return Ok(Some(ReadItem::Item(RawItem { line, id, name, image_url, stock })));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_one_by_one_and_bad_ones_are_named() {
        let good = r#"{"id":"a","name":"n","image_url":"u","stock":3}"#;
        let long = "x".repeat(MAX_RECORD_BYTES + 10);
        let text = format!("{good}\r\n\n{{\"id\":\"b\"}}\n{long}\n[1]\n{good}");
        let mut items = JsonLines::new(Box::new(std::io::Cursor::new(text.into_bytes())));

        let mut found = Vec::new();
        while let Some(read) = items.next().unwrap() {
            found.push(match read {
                ReadItem::Item(item) => (item.line, item.stock),
                ReadItem::Unreadable(fault) => (fault.line, "-".to_owned()),
            });
        }

        let bad = |line| (line, "-".to_owned());
        assert_eq!(found, [(1, "3".to_owned()), bad(3), bad(4), bad(5), (6, "3".to_owned())]);
    }
}
