//! The report as JSON.

use serde_json::{Map, Value, json};

use super::contents::{LoadLine, Report};
use super::figure::{Figure, Target};
use crate::generator::Latency;

/// The whole report, with stable names.
pub(super) fn of(report: &Report) -> Value {
    json!({
        "machine": report.machine,
        "sound": report.is_sound(),
        "faults": report.faults,
        "figures": report.figures.iter().map(figure).collect::<Vec<_>>(),
        "runs": report.loads.iter().map(load).collect::<Vec<_>>(),
    })
}

fn figure(figure: &Figure) -> Value {
    let (direction, must, aim) = match figure.target {
        Target::None => (None, None, None),
        Target::AtLeast { must, aim } => (Some("at_least"), Some(must), Some(aim)),
        Target::AtMost { must, aim } => (Some("at_most"), Some(must), Some(aim)),
    };
    json!({
        "scenario": figure.scenario,
        "what": figure.what,
        "unit": figure.unit,
        "value": figure.value(),
        "runs": figure.runs,
        "direction": direction,
        "must": must,
        "aim": aim,
        "reached": figure.reached().map(|(must, _)| must && !figure.is_struck),
        "aim_reached": figure.reached().map(|(_, aim)| aim && !figure.is_struck),
        "struck_out": figure.is_struck,
        "beside": figure.beside,
    })
}

fn load(load: &LoadLine) -> Value {
    let [service, postgres, redis, generator] = load.cpu;
    json!({
        "name": load.name,
        "answers_per_second": load.a_second,
        "requests": load.requests,
        "accepted": load.accepted,
        "refused": load.refused,
        "shed": load.shed,
        "failed": load.failed,
        "unsent": load.unsent,
        "latency_ms": latency(load.latency),
        "latency_ms_by_kind": load.by_kind.iter().map(|(kind, of)| (kind.name().to_owned(), latency(*of))).collect::<Map<_, _>>(),
        "cpu_us_per_request": {
            "service": service, "postgresql": postgres, "redis": redis, "generator": generator,
        },
        "generator_share_of_a_core": load.generator,
    })
}

fn latency(latency: Latency) -> Value {
    json!({"p50": latency.p50, "p99": latency.p99, "p999": latency.p999, "max": latency.max})
}
