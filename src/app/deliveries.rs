//! Deliveries of events: to the configured sinks, and to the endpoints of webhooks.

use std::sync::Arc;
use std::time::Duration;

use super::components::Components;
use super::context::BuildContext;
use super::error::AppError;
use super::low_priority::{
    Beside, LinuxProcessorTimes, LogElsewhere, LowPriority, SubjectsElsewhere,
};
use super::pause::TokioPause;
use crate::application::events::{
    Delivery, DeliveryPorts, EventReader, EventReaderPorts, KnownSubjects, PacedLog, PacedLogPorts,
};
use crate::application::ports::{
    Causes, Clock, EventLog, EventMetrics, EventSink, Outbox, PortError, SinkStore,
};
use crate::application::webhooks::deliveries::Deliveries as WebhookDeliveries;
use crate::application::webhooks::{DeliveryLimits, DeliveryPorts as WebhookPorts};
use crate::config::{EventsConfig, WebhooksConfig};
use crate::infrastructure::cache::RedisEventStream;
use crate::infrastructure::events::{PrometheusDeliveryMetrics, PrometheusEventMetrics};
use crate::infrastructure::http::CloudEvents;
use crate::infrastructure::nats::NatsSink;
use crate::infrastructure::persistence::{
    OutcomeReader, PostgresDeliveryStore, PostgresOutbox, PostgresSinkStore,
};
use crate::infrastructure::webhooks::HttpWebhookSender;

/// The source of all events where `http.public_url` is not set.
const SOURCE: &str = "/flash-sale";
/// How often sales that have opened are announced.
const ANNOUNCE_INTERVAL: Duration = Duration::from_millis(250);
/// Openings that are looked for each time.
const ANNOUNCE_WITHIN: Duration = Duration::from_hours(1);
/// How often openings of a long absence are looked for.
const CATCH_UP_INTERVAL: Duration = Duration::from_mins(1);
const CATCH_UP_WITHIN: Duration = Duration::from_hours(30 * 24);
/// How often waiting events are counted, and put in order even if there is no sink.
const MEASURE_INTERVAL: Duration = Duration::from_secs(1);
const PRUNE_INTERVAL: Duration = Duration::from_mins(1);
/// Connections to PostgreSQL for all deliveries, beside those of requests.
const CONNECTIONS: u32 = 4;

/// What delivers events.
pub(crate) struct Deliveries {
    metrics: Arc<dyn EventMetrics>,
    outbox: Arc<dyn Outbox>,
    sinks: Arc<dyn SinkStore>,
    to_sinks: Vec<Arc<Delivery>>,
    to_endpoints: WebhookPorts,
    thread: LowPriority,
}

impl Deliveries {
    /// Creates the configured sinks.
    pub(crate) fn build(
        context: &BuildContext<'_>,
        components: &Components,
        beside: Beside,
    ) -> Result<Self, AppError> {
        let outbox: Arc<dyn Outbox> = Arc::new(PostgresOutbox::new(context.database.clone()));
        let sinks: Arc<dyn SinkStore> = Arc::new(PostgresSinkStore::new(context.database.clone()));
        let thread = LowPriority::start("events", beside).map_err(AppError::Thread)?;
        // Their connections are opened where they are used, so they are not shared with requests.
        let database = context.database.separate(CONNECTIONS / 2);
        let read_from = context.database.separate(CONNECTIONS / 2);
        let source = context.config.http.links.public_url.as_deref().unwrap_or(SOURCE);
        let clock: &Arc<dyn Clock> = components.cell.sale_cache.clock();
        let events = Arc::new(EventReader::new(EventReaderPorts {
            outbox: Arc::new(PostgresOutbox::new(read_from.clone())),
            outcomes: Arc::new(OutcomeReader::new(read_from)),
            subjects: Arc::new(SubjectsElsewhere::here(KnownSubjects {
                sale_cache: Arc::clone(&components.cell.sale_cache),
                codes: Arc::clone(&components.cell.codes),
            })),
            format: Arc::new(CloudEvents::new(source)),
        }));
        let log: Arc<dyn EventLog> = Arc::new(PacedLog::new(PacedLogPorts {
            batches: vec![
                Arc::new(components.shared.batches.clone()),
                Arc::<EventReader>::clone(&events),
            ],
            log: match beside {
                Beside::Requests => events,
                Beside::Nothing => Arc::new(LogElsewhere::here(events)),
            },
            times: Arc::new(LinuxProcessorTimes),
            clock: Arc::clone(clock),
            pause: Arc::new(TokioPause),
        }));
        let measured = Arc::new(PrometheusEventMetrics::register(context.registry)?);
        let metrics: Arc<dyn EventMetrics> = Arc::<PrometheusEventMetrics>::clone(&measured);
        let to_endpoints = WebhookPorts {
            store: Arc::new(PostgresDeliveryStore::new(database.clone())),
            sender: Arc::new(HttpWebhookSender::new(&context.config.webhooks)?),
            log: Arc::clone(&log),
            clock: Arc::clone(clock),
            pause: Arc::new(TokioPause),
            metrics: Arc::new(PrometheusDeliveryMetrics::register(context.registry, measured)?),
        };
        let positions: Arc<dyn SinkStore> = Arc::new(PostgresSinkStore::new(database.clone()));
        let delivery = |sink| {
            let ports = DeliveryPorts {
                log: Arc::clone(&log),
                sinks: Arc::clone(&positions),
                sink,
                metrics: Arc::clone(&metrics),
                clock: Arc::clone(clock),
                pause: Arc::new(TokioPause),
            };
            Arc::new(Delivery::new(ports, context.instance.run))
        };
        let to_sinks = configured(&context.config.events, components)?;
        let to_sinks = to_sinks.into_iter().map(delivery).collect();
        Ok(Self { metrics, outbox, sinks, to_sinks, to_endpoints, thread })
    }

    /// Starts to deliver, until the background tasks end. New sinks are known when this returns, so that they get everything that
    /// is sold from then on, unless PostgreSQL is away.
    pub(crate) async fn start(&self, context: &BuildContext<'_>) {
        self.start_webhooks(context);
        let tasks = &context.tasks.background;
        for delivery in &self.to_sinks {
            let known = Arc::clone(delivery);
            let registered = self.thread.run(async move { known.register().await }).await;
            if let Some(Err(error)) = registered {
                tracing::warn!(error = %Causes(&error), "a sink of events is not known yet");
            }
            let delivery = Arc::clone(delivery);
            tasks.run_on(self.thread.runtime(), async move { delivery.run().await });
        }
        let outbox = &self.outbox;
        tasks.every("announce sales", ANNOUNCE_INTERVAL, outbox, |it| async move {
            it.announce_openings(ANNOUNCE_WITHIN).await
        });
        tasks.every("announce earlier sales", CATCH_UP_INTERVAL, outbox, |it| async move {
            it.announce_openings(CATCH_UP_WITHIN).await
        });
        let names = self.to_sinks.iter().map(|delivery| delivery.sink()).collect();
        let keep = context.in_force.setting(|config| config.events.keep);
        let measured = Arc::new(Pending {
            outbox: Arc::clone(outbox),
            sinks: Arc::clone(&self.sinks),
            metrics: Arc::clone(&self.metrics),
            names,
        });
        tasks.every("count waiting events", MEASURE_INTERVAL, &measured, |it| async move {
            it.count().await
        });
        tasks.every("prune events", PRUNE_INTERVAL, &measured, move |it| {
            let keep = keep.get();
            async move { it.prune(keep).await }
        });
    }

    /// They end with the writers, not with the background tasks: what they have achieved is stored first, and the leases are given
    /// back, so that another process goes on at once.
    fn start_webhooks(&self, context: &BuildContext<'_>) {
        let (tasks, stop) = context.tasks.writers.scope();
        let tracker = tasks.clone();
        let runtime = self.thread.runtime().clone();
        let spawn = Arc::new(move |task| drop(tracker.spawn_on(task, &runtime)));
        let (ports, limits) = (self.to_endpoints.clone(), limits(&context.config.webhooks));
        let deliveries = WebhookDeliveries::new(ports, limits, &context.instance.name, spawn);
        let run = deliveries.run(async move { stop.cancelled().await });
        tasks.spawn_on(run, self.thread.runtime());
    }

    /// Lets another instance deliver at once.
    pub(crate) async fn release(&self) {
        for delivery in &self.to_sinks {
            let delivery = Arc::clone(delivery);
            // After the lease's end another instance delivers anyway.
            let _ = self.thread.run(async move { delivery.release().await }).await;
        }
    }
}

fn limits(config: &WebhooksConfig) -> DeliveryLimits {
    DeliveryLimits {
        concurrency: config.concurrency,
        max_attempts: config.max_attempts,
        disable_after: config.disable_after,
    }
}

/// The sinks that are on.
fn configured(
    config: &EventsConfig,
    components: &Components,
) -> Result<Vec<Arc<dyn EventSink>>, AppError> {
    let mut sinks: Vec<Arc<dyn EventSink>> = Vec::new();
    if let Some(stream) = &config.stream {
        sinks.push(Arc::new(RedisEventStream::new(
            components.shared.redis.clone(),
            stream.max_length,
        )));
    }
    if let Some(nats) = &config.nats {
        sinks.push(Arc::new(NatsSink::new(&nats.url, &nats.stream)?));
    }
    Ok(sinks)
}

/// What counts waiting events, and deletes old ones.
struct Pending {
    outbox: Arc<dyn Outbox>,
    sinks: Arc<dyn SinkStore>,
    metrics: Arc<dyn EventMetrics>,
    /// The sinks that are on. One that was switched off keeps its position, and does not count.
    names: Vec<&'static str>,
}

impl Pending {
    /// Counts them, and puts events in order even if there is no sink.
    async fn count(&self) -> Result<(), PortError> {
        self.outbox.order().await?;
        for (sink, events) in self.sinks.pending().await? {
            if self.names.contains(&sink.as_str()) {
                self.metrics.pending(&sink, events);
            }
        }
        Ok(())
    }

    /// Deletes events that are too old, and says who will never have them.
    async fn prune(&self, keep: Duration) -> Result<(), PortError> {
        let pruned = self.outbox.prune(keep, &self.names).await?;
        for (sink, events) in pruned.missed {
            self.metrics.missed(&sink, events);
            tracing::warn!(
                sink,
                events,
                "events older than events.keep were deleted before they were delivered"
            );
        }
        Ok(())
    }
}
