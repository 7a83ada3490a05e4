//! Data on standard output: JSON for programs, tables for terminals.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table};
use serde_json::{Value, json};

use super::failure::{BAD_ARGUMENTS, FAILED, Failure};

/// What `--output` may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// One JSON value per line.
    Json,
    /// A table.
    Table,
    /// A picture; `sale report` alone.
    Svg,
}

/// The format of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// One JSON value per line.
    Json,
    /// A table.
    Table,
}

impl Output {
    /// What is requested; by default a table on a terminal, else JSON.
    pub(super) fn or_by_terminal(requested: Option<Self>) -> Self {
        let default = if std::io::stdout().is_terminal() { Self::Table } else { Self::Json };
        requested.unwrap_or(default)
    }

    /// The format of a command that draws no picture.
    pub(super) fn of_data(self) -> Result<Format, Failure> {
        match self {
            Self::Json => Ok(Format::Json),
            Self::Table => Ok(Format::Table),
            Self::Svg => Err(Failure::new(
                BAD_ARGUMENTS,
                "--output svg is for `flash-sale sale report` alone: use json or table",
            )),
        }
    }
}

/// Writes a JSON value on one line.
pub(super) fn json(value: &Value) -> Result<(), Failure> {
    line(&value.to_string())
}

/// Writes one JSON object, or a table of one row.
pub(super) fn one(format: Format, columns: &[&str], row: &Value) -> Result<(), Failure> {
    match format {
        Format::Json => json(row),
        Format::Table => table(columns, std::slice::from_ref(row)),
    }
}

/// Writes a page of a list: one JSON object, or a table and where the next page begins.
pub(super) fn page(
    format: Format,
    columns: &[&str],
    rows: &[Value],
    next: Option<String>,
) -> Result<(), Failure> {
    match (format, next) {
        (Format::Json, next) => json(&json!({ "data": rows, "next_cursor": next })),
        (Format::Table, None) => table(columns, rows),
        (Format::Table, Some(next)) => {
            table(columns, rows)?;
            line(&format!("more with --cursor {next}"))
        }
    }
}

/// Writes a text and a newline.
pub(super) fn text(text: &str) -> Result<(), Failure> {
    line(text)
}

/// Writes these columns of JSON objects as a table.
pub(super) fn table(columns: &[&str], rows: &[Value]) -> Result<(), Failure> {
    let mut table = Table::new();
    table.set_content_arrangement(ContentArrangement::Dynamic).set_header(columns);
    for row in rows {
        table.add_row(columns.iter().map(|column| cell(&row[*column])));
    }
    line(&table.to_string())
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn line(text: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{text}")
        .map_err(|error| Failure::new(FAILED, format!("cannot write the output: {error}")))
}
