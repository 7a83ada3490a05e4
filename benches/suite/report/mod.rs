//! The results: figures with their targets, the runs behind them, and the machine; as tables and as `report.json`.

mod contents;
mod figure;
mod json;
mod machine;
mod say;
mod table;

use std::path::Path;

use crate::outcome::Outcome;

pub(crate) use contents::Report;
pub(crate) use figure::{Figure, median};
pub(crate) use say::say;

/// Prints a report as tables.
pub(crate) fn show(report: &Report) {
    table::show(report);
}

/// Writes a report as JSON.
pub(crate) fn write(report: &Report, path: &Path) -> Outcome<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, serde_json::to_string_pretty(&json::of(report))? + "\n")?;
    Ok(())
}
