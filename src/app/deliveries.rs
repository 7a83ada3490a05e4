//! Delivery of events to endpoints of webhooks.

use std::sync::Arc;

use super::components::Components;
use super::context::BuildContext;
use super::error::AppError;
use super::event_log::event_log;
use super::pause::TokioPause;
use crate::application::webhooks::deliveries::Deliveries;
use crate::application::webhooks::{DeliveryLimits, DeliveryPorts};
use crate::config::WebhooksConfig;
use crate::infrastructure::events::{EventMetrics, PrometheusDeliveryMetrics};
use crate::infrastructure::persistence::PostgresDeliveryStore;
use crate::infrastructure::webhooks::HttpWebhookSender;

/// Starts the deliveries. They end with the writers, not with the background tasks: what they have achieved is stored first, and
/// the leases are given back, so that another process goes on at once.
pub(crate) fn start(context: &BuildContext<'_>, components: &Components) -> Result<(), AppError> {
    let config = &context.config.webhooks;
    let events = Arc::new(EventMetrics::register(context.registry)?);
    let metrics = PrometheusDeliveryMetrics::register(context.registry, events)?;
    let ports = DeliveryPorts {
        store: Arc::new(PostgresDeliveryStore::new(context.database.clone())),
        sender: Arc::new(HttpWebhookSender::new(config)?),
        log: event_log(context.database),
        clock: Arc::clone(components.sale_cache.clock()),
        pause: Arc::new(TokioPause),
        metrics: Arc::new(metrics),
    };
    let (tasks, stop) = context.tasks.writers.scope();
    let tracker = tasks.clone();
    let spawn = Arc::new(move |task| drop(tracker.spawn(task)));
    let deliveries = Deliveries::new(ports, limits(config), &context.instance.name, spawn);
    tasks.spawn(deliveries.run(async move { stop.cancelled().await }));
    Ok(())
}

fn limits(config: &WebhooksConfig) -> DeliveryLimits {
    DeliveryLimits {
        concurrency: config.concurrency,
        max_attempts: config.max_attempts,
        disable_after: config.disable_after,
    }
}
