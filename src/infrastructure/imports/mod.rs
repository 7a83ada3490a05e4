//! Items in files: CSV and JSON lines, read row by row in bounded memory.
//!
//! - [`csv`]: RFC 4180 with a header. [`json_lines`]: an object a line. [`bounded`]: input whose lines are bounded.

mod bounded;
mod csv;
mod json_lines;

pub(crate) use csv::CsvItems;
pub(crate) use json_lines::JsonLines;

use std::io::Read;

use crate::application::ports::{ItemFormat, ItemFormats, ItemSource};

/// Reads all formats.
pub(crate) struct Formats;

impl ItemFormats for Formats {
    fn open(&self, format: ItemFormat, input: Box<dyn Read + Send>) -> Box<dyn ItemSource> {
        match format {
            ItemFormat::Csv => Box::new(CsvItems::new(input)),
            ItemFormat::JsonLines => Box::new(JsonLines::new(input)),
        }
    }
}
