//! Items as CSV: RFC 4180, UTF-8, a header with the columns in any order.

use std::io::Read;

use csv::{ByteRecord, Reader, ReaderBuilder, Terminator};

use super::bounded::{BoundedRecords, invalid};
use crate::application::ports::{BoxError, ItemSource, ReadItem};
use crate::domain::import::{RawItem, Rejected};

const COLUMNS: [&str; 4] = ["id", "name", "image_url", "stock"];
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads items from CSV.
pub(crate) struct CsvItems {
    reader: Reader<BoundedRecords>,
    /// Where each column of [`COLUMNS`] stands.
    places: Option<[usize; 4]>,
    record: ByteRecord,
}

impl CsvItems {
    pub(crate) fn new(input: Box<dyn Read + Send>) -> Self {
        let reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .terminator(Terminator::Any(b'\n'))
            .from_reader(BoundedRecords::new(input));
        Self { reader, places: None, record: ByteRecord::new() }
    }

    /// The line on which the record begins. Its own position is before the empty lines that were skipped.
    fn first_line(&self) -> u64 {
        let feeds = self.record.as_slice().iter().map(|byte| u64::from(*byte == b'\n'));
        let feeds: u64 = feeds.sum();
        self.reader.position().line().saturating_sub(feeds.saturating_add(1))
    }

    fn read_header(&mut self) -> Result<[usize; 4], BoxError> {
        if !self.reader.read_byte_record(&mut self.record)? {
            return Err(invalid(
                "the file is empty: its first line must be id,name,image_url,stock",
            )
            .into());
        }
        let mut header: Vec<&[u8]> = self.record.iter().collect();
        if let Some(first) = header.first_mut() {
            *first = first.strip_prefix(BYTE_ORDER_MARK).unwrap_or(first);
        }
        let place = |column: &str| header.iter().position(|name| *name == column.as_bytes());
        let places = COLUMNS.map(place);
        match places {
            [Some(id), Some(name), Some(image_url), Some(stock)]
                if header.len() == COLUMNS.len() =>
            {
                Ok([id, name, image_url, stock])
            }
            _ => {
                let shown = String::from_utf8_lossy(&header.join(&b","[..])).into_owned();
                let shown: String = shown.chars().take(200).collect();
                Err(invalid(&format!(
                    "the first line must have the columns id,name,image_url,stock, each once, and is {shown:?}"
                ))
                .into())
            }
        }
    }
}

impl ItemSource for CsvItems {
    fn next(&mut self) -> Result<Option<ReadItem>, BoxError> {
        let places = match self.places {
            Some(places) => places,
            None => self.read_header()?,
        };
        self.places = Some(places);
        if !self.reader.read_byte_record(&mut self.record)? {
            return Ok(None);
        }
        let line = self.first_line();
        let unreadable = |why| Ok(Some(ReadItem::Unreadable(Rejected { line, field: None, why })));
        if self.record.len() != COLUMNS.len() {
            return unreadable("must have four columns");
        }
        let text = |column: usize| {
            let bytes = self.record.get(places[column]).unwrap_or_default();
            std::str::from_utf8(bytes).map(str::to_owned)
        };
        let (Ok(id), Ok(name), Ok(image_url), Ok(stock)) = (text(0), text(1), text(2), text(3))
        else {
            return unreadable("must be UTF-8");
        };
        Ok(Some(ReadItem::Item(RawItem { line, id, name, image_url, stock })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines with ids and stocks of the items, and the lines that are unreadable; or the error of the whole file.
    fn read(text: &[u8]) -> Result<Vec<String>, String> {
        let mut items = CsvItems::new(Box::new(std::io::Cursor::new(text.to_vec())));
        let mut found = Vec::new();
        loop {
            match items.next().map_err(|error| error.to_string())? {
                Some(ReadItem::Item(item)) => {
                    found.push(format!("{} {} {}", item.line, item.id, item.stock));
                }
                Some(ReadItem::Unreadable(fault)) => {
                    found.push(format!("{} {}", fault.line, fault.why));
                }
                None => return Ok(found),
            }
        }
    }

    #[test]
    fn quotes_a_byte_order_mark_crlf_and_any_order_of_columns_are_read() {
        let text =
            b"\xef\xbb\xbfstock,id,image_url,name\r\n3,\"a,\"\"b\"\"\",u,n\r\n\r\n4,c,u,\"n\"";

        assert_eq!(read(text), Ok(vec!["2 a,\"b\" 3".to_owned(), "4 c 4".to_owned()]));
    }

    #[test]
    fn a_line_with_other_columns_or_bytes_is_named_and_the_next_is_read() {
        let text = b"id,name,image_url,stock\na,n,u\nb,n,u,1,2\nc,\xff,u,1\nd,n,u,4\n";

        let expected =
            ["2 must have four columns", "3 must have four columns", "4 must be UTF-8", "5 d 4"];
        assert_eq!(read(text).unwrap(), expected);
    }

    #[test]
    fn a_file_without_its_columns_or_its_end_is_an_error() {
        for (text, why) in [
            (&b""[..], "the file is empty"),
            (b"id,name,stock\n", "each once"),
            (b"id,id,name,image_url,stock\n", "each once"),
            (b"a,n,u,1\n", "each once"),
            (b"id,name,image_url,stock\na,\"n,u,1\nb,n,u,1\n", "ends inside of quotes"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        let mut endless = b"id,name,image_url,stock\na,\"".to_vec();
        endless.resize(200_000, b'x');
        assert!(read(&endless).unwrap_err().contains("line 2: a row is longer"));
    }
}
