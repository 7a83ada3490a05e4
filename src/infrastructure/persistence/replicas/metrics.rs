//! Metrics of replicas, and of who answers lists and reports.

use std::time::Duration;

use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Why the primary answers although there are replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// No replica may be read from.
    NoneFresh,
    /// None had what the reader must see, in time.
    Behind,
    /// The replica failed.
    Failed,
}

impl Fallback {
    const ALL: [Self; 3] = [Self::NoneFresh, Self::Behind, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::NoneFresh => "none_fresh",
            Self::Behind => "behind",
            Self::Failed => "failed",
        }
    }
}

/// The registered metrics.
#[derive(Debug)]
pub(crate) struct ReplicaMetrics {
    up: IntGaugeVec,
    lag: GaugeVec,
    connections: IntGaugeVec,
    from_primary: IntCounter,
    from_replica: IntCounter,
    fallbacks: [IntCounter; Fallback::ALL.len()],
}

/// The gauges of one replica.
#[derive(Debug)]
pub(crate) struct ReplicaGauges {
    replica: String,
    up: IntGauge,
    lag: GaugeVec,
    in_use: IntGauge,
    idle: IntGauge,
}

impl ReplicaMetrics {
    /// Registers the metrics.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let up = IntGaugeVec::new(
            Opts::new("flash_sale_replica_up", "1 while a replica is read from, else 0."),
            &["replica"],
        )?;
        let lag = GaugeVec::new(
            Opts::new("flash_sale_replica_lag_seconds", "How long a replica lags behind."),
            &["replica"],
        )?;
        let connections = IntGaugeVec::new(
            Opts::new("flash_sale_replica_connections", "Connections to a replica, by state."),
            &["replica", "state"],
        )?;
        let reads = IntCounterVec::new(
            Opts::new("flash_sale_reads_total", "Lists and reports, by who answered."),
            &["from"],
        )?;
        let fallbacks = IntCounterVec::new(
            Opts::new(
                "flash_sale_replica_fallbacks_total",
                "Reads that the primary answered although there are replicas, by reason.",
            ),
            &["reason"],
        )?;
        registry.register(Box::new(up.clone()))?;
        registry.register(Box::new(lag.clone()))?;
        registry.register(Box::new(connections.clone()))?;
        registry.register(Box::new(reads.clone()))?;
        registry.register(Box::new(fallbacks.clone()))?;
        Ok(Self {
            up,
            lag,
            connections,
            from_primary: reads.with_label_values(&["primary"]),
            from_replica: reads.with_label_values(&["replica"]),
            fallbacks: Fallback::ALL.map(|why| fallbacks.with_label_values(&[why.as_str()])),
        })
    }

    /// The gauges of the replica with this name.
    pub(crate) fn of(&self, replica: &str) -> ReplicaGauges {
        ReplicaGauges {
            replica: replica.to_owned(),
            up: self.up.with_label_values(&[replica]),
            lag: self.lag.clone(),
            in_use: self.connections.with_label_values(&[replica, "in_use"]),
            idle: self.connections.with_label_values(&[replica, "idle"]),
        }
    }

    pub(crate) fn read_from_primary(&self) {
        self.from_primary.inc();
    }

    pub(crate) fn read_from_replica(&self) {
        self.from_replica.inc();
    }

    pub(crate) fn fell_back(&self, why: Fallback) {
        self.fallbacks[why as usize].inc();
    }
}

impl ReplicaGauges {
    pub(crate) fn up(&self, is_up: bool) {
        self.up.set(i64::from(is_up));
    }

    /// A lag that is not known has no series: its last value would look like that of a replica that keeps up.
    pub(crate) fn lag(&self, lag: Option<Duration>) {
        let replica = [self.replica.as_str()];
        match lag {
            Some(lag) => self.lag.with_label_values(&replica).set(lag.as_secs_f64()),
            // It fails if there is none.
            None => drop(self.lag.remove_label_values(&replica)),
        }
    }

    pub(crate) fn connections(&self, in_use: usize, idle: usize) {
        self.in_use.set(i64::try_from(in_use).unwrap_or(i64::MAX));
        self.idle.set(i64::try_from(idle).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_that_is_not_known_has_no_series() {
        let registry = Registry::new();
        let gauges = ReplicaMetrics::register(&registry).unwrap().of("one:5432");
        let shown = || {
            let families = registry.gather();
            let lag = families.iter().find(|one| one.name() == "flash_sale_replica_lag_seconds");
            lag.map(|lag| lag.get_metric()[0].get_gauge().get_value())
        };

        assert_eq!(shown(), None);
        gauges.lag(Some(Duration::from_secs(2)));
        assert_eq!(shown(), Some(2.0));
        gauges.lag(None);
        gauges.lag(None);
        assert_eq!(shown(), None);
    }
}
