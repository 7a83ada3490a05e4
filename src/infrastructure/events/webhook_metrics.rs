//! Metrics of webhooks.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::metrics::PrometheusEventMetrics;
use crate::application::ports::{
    DeliveryMetrics, DeliveryOutcome, EventMetrics, WebhookOverview, WebhookState,
};

/// The name of all endpoints together, as a sink.
const SINK: &str = "webhook";

/// Counts deliveries to endpoints for Prometheus.
pub(crate) struct PrometheusDeliveryMetrics {
    events: Arc<PrometheusEventMetrics>,
    outcomes: [IntCounter; DeliveryOutcome::ALL.len()],
    endpoints: [IntGauge; WebhookState::ALL.len()],
    failing: IntGauge,
    dead: IntGauge,
}

impl PrometheusDeliveryMetrics {
    /// Registers the metrics that only webhooks have.
    pub(crate) fn register(
        registry: &Registry,
        events: Arc<PrometheusEventMetrics>,
    ) -> prometheus::Result<Self> {
        let outcomes = IntCounterVec::new(
            Opts::new(
                "flash_sale_webhook_deliveries_total",
                "Tries to deliver an event to an endpoint, events given up and endpoints disabled, by outcome.",
            ),
            &["outcome"],
        )?;
        let endpoints = IntGaugeVec::new(
            Opts::new("flash_sale_webhooks", "Endpoints of webhooks, by state."),
            &["state"],
        )?;
        let failing = IntGauge::new(
            "flash_sale_webhooks_failing",
            "Active endpoints that accept nothing and are only probed.",
        )?;
        let dead = IntGauge::new(
            "flash_sale_webhook_dead_events",
            "Events that were given up and wait for an operator.",
        )?;
        registry.register(Box::new(outcomes.clone()))?;
        registry.register(Box::new(endpoints.clone()))?;
        registry.register(Box::new(failing.clone()))?;
        registry.register(Box::new(dead.clone()))?;
        Ok(Self {
            events,
            outcomes: DeliveryOutcome::ALL
                .map(|outcome| outcomes.with_label_values(&[outcome.as_str()])),
            endpoints: WebhookState::ALL
                .map(|state| endpoints.with_label_values(&[state.as_str()])),
            failing,
            dead,
        })
    }
}

impl DeliveryMetrics for PrometheusDeliveryMetrics {
    fn counted(&self, outcome: DeliveryOutcome) {
        self.outcomes[outcome as usize].inc();
    }

    fn delivered_after(&self, time: Duration) {
        self.events.delivered(SINK, time, 1);
    }

    fn pending(&self, events: i64) {
        self.events.pending(SINK, events);
    }

    fn overview(&self, overview: &WebhookOverview) {
        for (gauge, count) in self.endpoints.iter().zip(overview.states) {
            gauge.set(count);
        }
        self.failing.set(overview.failing);
        self.dead.set(overview.dead);
    }
}
