//! Counts of deliveries in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::application::ports::{DeliveryMetrics, DeliveryOutcome, WebhookOverview};

/// Counts of deliveries.
#[derive(Default)]
pub(crate) struct FakeDeliveryMetrics {
    outcomes: Mutex<HashMap<DeliveryOutcome, u64>>,
    times: Mutex<Vec<Duration>>,
    pending: Mutex<i64>,
    overview: Mutex<WebhookOverview>,
}

impl FakeDeliveryMetrics {
    /// Nothing is counted yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// How often this happened.
    pub(crate) fn count(&self, outcome: DeliveryOutcome) -> u64 {
        self.outcomes.lock().unwrap().get(&outcome).copied().unwrap_or_default()
    }

    /// How long deliveries took.
    pub(crate) fn times(&self) -> Vec<Duration> {
        self.times.lock().unwrap().clone()
    }

    /// Batches that are pending.
    pub(crate) fn pending_batches(&self) -> i64 {
        *self.pending.lock().unwrap()
    }
}

impl DeliveryMetrics for FakeDeliveryMetrics {
    fn counted(&self, outcome: DeliveryOutcome) {
        *self.outcomes.lock().unwrap().entry(outcome).or_default() += 1;
    }

    fn delivered_after(&self, time: Duration) {
        self.times.lock().unwrap().push(time);
    }

    fn pending(&self, batches: i64) {
        *self.pending.lock().unwrap() = batches;
    }

    fn overview(&self, overview: &WebhookOverview) {
        *self.overview.lock().unwrap() = *overview;
    }
}
