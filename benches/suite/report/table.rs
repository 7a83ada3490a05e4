//! The report as tables.

use comfy_table::{CellAlignment, Table};

use super::contents::{LoadLine, Report};
use super::figure::{Figure, Target, number};
use super::say::say;

/// Prints the machine, figures, runs and faults.
pub(super) fn show(report: &Report) {
    say("");
    for (name, value) in &report.machine {
        say(&format!("{name:28} {value}"));
    }
    say("");
    say(&figures(&report.figures));
    say(
        "\nThe median run of each load. Latencies in ms, CPU time in µs a request, generator in cores a thread.\n",
    );
    say(&loads(&report.loads));
    if !report.faults.is_empty() {
        say("\nFAULTS");
    }
    for fault in &report.faults {
        say(&format!("- {fault}"));
    }
}

fn figures(figures: &[Figure]) -> String {
    let columns = ["scenario", "what", "must", "aim", "measured", "unit", "reached?", ""];
    let mut table = table(&columns, &[2, 3, 4]);
    for figure in figures {
        let (must, aim) = match figure.target {
            Target::None => (String::new(), String::new()),
            Target::AtLeast { must, aim } => (above(must), above(aim)),
            Target::AtMost { must, aim } => (below(must), below(aim)),
        };
        let value = number(figure.value());
        let value = if figure.is_struck { format!("~~{value}~~") } else { value };
        table.add_row([
            figure.scenario,
            &figure.what,
            &must,
            &aim,
            &value,
            figure.unit,
            figure.verdict(),
            &figure.beside,
        ]);
    }
    table.to_string()
}

fn loads(loads: &[LoadLine]) -> String {
    let columns = [
        "run",
        "answers/s",
        "accepted",
        "refused",
        "503",
        "failed",
        "unsent",
        "p50",
        "p99",
        "p99.9",
        "service",
        "postgres",
        "redis",
        "gen.",
        "gen. cores",
    ];
    let numeric: Vec<usize> = (1..columns.len()).collect();
    let mut table = table(&columns, &numeric);
    for load in loads {
        let counts = [load.accepted, load.refused, load.shed, load.failed, load.unsent];
        let latency = [load.latency.p50, load.latency.p99, load.latency.p999];
        let row = [load.name.clone(), number(load.a_second)].into_iter();
        let row = row.chain(counts.map(|count| count.to_string()));
        let row = row.chain(latency.map(number)).chain(load.cpu.map(number));
        table.add_row(row.chain([number(load.generator)]));
    }
    table.to_string()
}

fn table(columns: &[&str], numeric: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::ASCII_MARKDOWN).set_header(columns);
    for column in numeric {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn above(value: f64) -> String {
    format!(">= {}", number(value))
}

fn below(value: f64) -> String {
    format!("<= {}", number(value))
}
