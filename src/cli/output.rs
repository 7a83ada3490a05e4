//! Data on standard output: JSON for programs, tables for people.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table};
use serde_json::Value;

use super::{FAILED, Failure};

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For programs.
    Json,
    /// For people.
    Table,
}

impl Format {
    /// As asked, or by where it goes.
    pub(super) fn or_by_terminal(asked: Option<Self>) -> Self {
        let fitting = if std::io::stdout().is_terminal() { Self::Table } else { Self::Json };
        asked.unwrap_or(fitting)
    }
}

/// Writes one JSON value on a line.
pub(super) fn json(value: &Value) -> Result<(), Failure> {
    line(&value.to_string())
}

/// Writes a text that is complete.
pub(super) fn text(text: &str) -> Result<(), Failure> {
    line(text)
}

/// Writes rows of JSON objects with these columns as a table.
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
