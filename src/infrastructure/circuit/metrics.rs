//! Gauges of the circuits' states.

use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

use super::state::Phase;

/// The states of all circuits, for Prometheus.
#[derive(Debug, Clone)]
pub(crate) struct CircuitMetrics {
    pub(super) states: IntGaugeVec,
}

/// The gauges of one circuit, each with its state's name.
#[derive(Debug)]
pub(crate) struct Gauges([(&'static str, IntGauge); 3]);

impl CircuitMetrics {
    /// Registers the gauges.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let states = IntGaugeVec::new(
            Opts::new(
                "flash_sale_circuit_state",
                "1 for the state that the circuit to a dependency is in; open: callers do not reach it.",
            ),
            &["dependency", "state"],
        )?;
        registry.register(Box::new(states.clone()))?;
        Ok(Self { states })
    }

    pub(crate) fn of(&self, dependency: &str) -> Gauges {
        Gauges(Phase::NAMES.map(|name| (name, self.states.with_label_values(&[dependency, name]))))
    }
}

impl Gauges {
    pub(crate) fn show(&self, current: &str) {
        for (name, gauge) in &self.0 {
            gauge.set(i64::from(*name == current));
        }
    }
}
