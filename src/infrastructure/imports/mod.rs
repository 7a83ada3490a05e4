//! Items in files: CSV and JSON lines, read row by row in bounded memory.
//!
//! - [`csv`]: RFC 4180 with a header. [`json_lines`]: an object a line. [`bounded`]: input whose lines are bounded.

mod bounded;
mod csv;
mod json_lines;

pub(crate) use csv::CsvItems;
pub(crate) use json_lines::JsonLines;
