//! `database.circuit.*` and `redis.circuit.*`: circuit breakers.

use std::time::Duration;

use crate::config::reader::Reader;
use crate::config::units::{MINUTE, MS};

/// `database.circuit.*`, `redis.circuit.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct CircuitConfig {
    pub mode: CircuitMode,
    pub failures: usize,
    pub recovery_time: Duration,
    pub probes: usize,
    pub probe_interval: Duration,
}

/// `*.circuit.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitMode {
    /// Opens and closes by itself.
    Auto,
    /// Always open: every call fails at once.
    Open,
    /// Always closed: every call goes through.
    Closed,
}

impl CircuitConfig {
    /// Reads the circuit in `section`.
    pub(crate) fn read(read: &mut Reader, section: &str) -> Self {
        let key = |name: &str| format!("{section}.circuit.{name}");
        let modes = [
            ("auto", CircuitMode::Auto),
            ("open", CircuitMode::Open),
            ("closed", CircuitMode::Closed),
        ];
        Self {
            mode: read.choice(&key("mode"), &modes).unwrap_or(CircuitMode::Auto),
            failures: read.number(&key("failures"), 1..=1_000),
            recovery_time: read.duration(&key("recovery_time"), 10 * MS..=MINUTE),
            probes: read.number(&key("probes"), 1..=100),
            probe_interval: read.duration(&key("probe_interval"), 10 * MS..=MINUTE),
        }
    }
}
