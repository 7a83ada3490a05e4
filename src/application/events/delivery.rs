//! Delivers all events to one sink, in order and at least once.
//!
//! Of all instances one delivers at a time: it has a lease, by the database's clock. The position is saved after the sink has taken
//! a batch, so an instance that dies in between makes the next one deliver that batch again, with the same ids. An instance that was
//! suspended may deliver what its successor has delivered too, and never something new, because it asks for its lease before it
//! reads on.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::application::ports::{
    Causes, Clock, Event, EventBatch, EventLog, EventMetrics, EventSink, Pause, PortError,
    SinkStore,
};

/// How long a lease lasts: an instance that was killed is replaced after this time.
const TERM: Duration = Duration::from_secs(5);
/// How often an instance without a lease asks for it.
const ASK: Duration = Duration::from_secs(1);
/// Delay between two readings while events arrive.
const BUSY: Duration = Duration::from_millis(20);
/// Delay between two readings while no events arrive.
const IDLE: Duration = Duration::from_millis(150);
/// Readings in a row without an event after which the idle delay applies.
const EMPTY_READINGS: u32 = 100;
/// Events of one delivery.
const EVENTS: usize = 512;
/// Delays after a failure: doubled each time.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Delivers to a sink.
pub struct Delivery {
    ports: DeliveryPorts,
    owner: Uuid,
}

/// The ports of [`Delivery`].
pub struct DeliveryPorts {
    /// Reads events.
    pub log: Arc<dyn EventLog>,
    /// Keeps the position.
    pub sinks: Arc<dyn SinkStore>,
    /// Takes the events.
    pub sink: Arc<dyn EventSink>,
    /// Counts.
    pub metrics: Arc<dyn EventMetrics>,
    /// Tells how long ago events were written.
    pub clock: Arc<dyn Clock>,
    /// Waits.
    pub pause: Arc<dyn Pause>,
}

/// Why delivering stopped.
enum Stopped {
    /// Another instance delivers.
    LeaseLost,
    /// A port failed.
    Failed(PortError),
}

impl From<PortError> for Stopped {
    fn from(error: PortError) -> Self {
        Self::Failed(error)
    }
}

impl Delivery {
    /// Creates the delivery on these ports; `owner` is this instance.
    #[must_use]
    pub fn new(ports: DeliveryPorts, owner: Uuid) -> Self {
        Self { ports, owner }
    }

    /// The name of the sink.
    #[must_use]
    pub fn sink(&self) -> &'static str {
        self.ports.sink.name()
    }

    /// Makes the sink known, so that every event from now on is delivered to it.
    pub async fn register(&self) -> Result<(), PortError> {
        self.ports.sinks.register(self.ports.sink.name()).await
    }

    /// Delivers for ever. The log has when it begins to fail, and when it works again.
    pub async fn run(&self) {
        let sink = self.ports.sink.name();
        let (mut delay, mut is_failing) = (FIRST_RETRY, false);
        loop {
            let mut has_delivered = false;
            let stopped = self.deliver(&mut has_delivered).await;
            if has_delivered {
                if is_failing {
                    tracing::info!(sink, "events are delivered again");
                }
                (delay, is_failing) = (FIRST_RETRY, false);
            }
            match stopped {
                Stopped::LeaseLost => self.ports.pause.pause(ASK).await,
                Stopped::Failed(error) => {
                    if !is_failing {
                        tracing::warn!(sink, error = %Causes(&error), "events are not delivered");
                    }
                    is_failing = true;
                    self.ports.pause.pause(delay).await;
                    delay = (delay * 2).min(LAST_RETRY);
                }
            }
        }
    }

    /// Gives the lease back, so that another instance need not wait for its end.
    pub async fn release(&self) -> Result<(), PortError> {
        self.ports.sinks.release(self.ports.sink.name(), self.owner).await
    }

    /// Delivers until something prevents it. `has_delivered` is set as soon as the sink or the end of the log was reached.
    async fn deliver(&self, has_delivered: &mut bool) -> Stopped {
        match self.deliver_all(has_delivered).await {
            Err(stopped) => stopped,
            Ok(never) => match never {},
        }
    }

    async fn deliver_all(
        &self,
        has_delivered: &mut bool,
    ) -> Result<std::convert::Infallible, Stopped> {
        let DeliveryPorts { log, sinks, sink, clock, pause, .. } = &self.ports;
        let name = sink.name();
        sinks.register(name).await?;
        let leased = sinks.lease(name, self.owner, TERM).await?;
        let mut position = leased.ok_or(Stopped::LeaseLost)?;
        let mut leased_at = clock.monotonic();
        let mut empty_readings = 0;
        loop {
            // Prolonged long before its end: what follows takes less than half of it, or fails.
            if clock.monotonic().saturating_sub(leased_at) > TERM / 4 {
                leased_at = clock.monotonic();
                let prolonged = sinks.lease(name, self.owner, TERM).await?;
                // It is an earlier one if a failover has lost the last positions.
                position = prolonged.ok_or(Stopped::LeaseLost)?;
            }
            let batches = log.read(position, EVENTS).await?;
            let Some(last) = batches.last() else {
                *has_delivered = true;
                empty_readings += 1;
                let is_busy = empty_readings < EMPTY_READINGS;
                pause.pause(if is_busy { BUSY } else { IDLE }).await;
                continue;
            };
            empty_readings = 0;
            let events: Vec<Event> =
                batches.iter().flat_map(|batch| &batch.events).cloned().collect();
            sink.deliver(&events).await?;
            *has_delivered = true;
            self.measure(&batches);
            leased_at = clock.monotonic();
            let next = (position, last.position);
            if !sinks.advance(name, self.owner, next, TERM).await? {
                return Err(Stopped::LeaseLost);
            }
            position = last.position;
        }
    }

    fn measure(&self, batches: &[EventBatch]) {
        let DeliveryPorts { sink, clock, metrics, .. } = &self.ports;
        let Some(now) = clock.database() else { return };
        for batch in batches {
            let after = (now.at - batch.written_at).to_std().unwrap_or_default();
            metrics.delivered(sink.name(), after, batch.events.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use tokio::sync::Notify;

    use super::*;
    use crate::application::ports::{
        EventKind, MockEventLog, MockEventMetrics, MockEventSink, MockSinkStore,
    };
    use crate::testing::builders::at;
    use crate::testing::fakes::FakeClock;

    const OWNER: Uuid = Uuid::from_u128(1);

    fn batch(position: i64) -> EventBatch {
        let event = Event {
            id: format!("evt_{position}"),
            kind: EventKind::PurchaseSettled,
            order_key: "ann".to_owned(),
            time: at(0),
            body: "{}".into(),
        };
        EventBatch { position, written_at: at(0), events: vec![event] }
    }

    /// A log of as many events.
    fn log(events: i64) -> MockEventLog {
        let mut log = MockEventLog::new();
        log.expect_read().returning(move |after, _| Ok((after + 1..=events).map(batch).collect()));
        log
    }

    fn broken() -> PortError {
        PortError::Unavailable { what: "the sink", source: "test".into() }
    }

    /// Tells when there is nothing to do, or the lease is elsewhere, and then never returns.
    #[derive(Default)]
    struct PauseUntilIdle(Notify);

    #[async_trait]
    impl Pause for PauseUntilIdle {
        async fn pause(&self, time: Duration) {
            if [BUSY, IDLE, ASK].contains(&time) {
                self.0.notify_one();
                std::future::pending::<()>().await;
            }
        }
    }

    /// What reached the sink, and the positions that were saved.
    #[derive(Debug, Default, PartialEq)]
    struct Seen {
        delivered: Vec<Vec<String>>,
        saved: Vec<i64>,
    }

    /// Delivers until there is nothing to do. The sink fails at the calls `failing`; the lease is lost at the first position of `lost`.
    async fn delivered(
        leased: Option<i64>,
        events: i64,
        failing: &'static [usize],
        lost: Option<i64>,
    ) -> Seen {
        let seen = Arc::<Mutex<Seen>>::default();
        let mut sink = MockEventSink::new();
        sink.expect_name().return_const("stream");
        let sink_seen = Arc::clone(&seen);
        sink.expect_deliver().returning(move |events| {
            let delivered = &mut sink_seen.lock().unwrap().delivered;
            delivered.push(events.iter().map(|event| event.id.clone()).collect());
            if failing.contains(&delivered.len()) { Err(broken()) } else { Ok(()) }
        });
        let mut sinks = MockSinkStore::new();
        sinks.expect_register().returning(|_| Ok(()));
        let position = Arc::new(Mutex::new(leased));
        let saved = Arc::clone(&position);
        sinks.expect_lease().returning(move |_, _, _| Ok(*position.lock().unwrap()));
        let store_seen = Arc::clone(&seen);
        sinks.expect_advance().returning(move |_, _, (_, position), _| {
            if lost == Some(position) {
                *saved.lock().unwrap() = None;
                return Ok(false);
            }
            *saved.lock().unwrap() = Some(position);
            store_seen.lock().unwrap().saved.push(position);
            Ok(true)
        });
        let mut metrics = MockEventMetrics::new();
        metrics.expect_delivered().return_const(());
        let pause = Arc::<PauseUntilIdle>::default();
        let delivery = Delivery::new(
            DeliveryPorts {
                log: Arc::new(log(events)),
                sinks: Arc::new(sinks),
                sink: Arc::new(sink),
                metrics: Arc::new(metrics),
                clock: FakeClock::at(at(0)),
                pause: Arc::<PauseUntilIdle>::clone(&pause),
            },
            OWNER,
        );
        tokio::select! {
            () = delivery.run() => {}
            () = pause.0.notified() => {}
        }
        std::mem::take(&mut *seen.lock().unwrap())
    }

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[tokio::test]
    async fn events_are_delivered_in_order_and_then_the_position_is_saved() {
        let seen = delivered(Some(1), 3, &[], None).await;

        assert_eq!(seen, Seen { delivered: vec![ids(&["evt_2", "evt_3"])], saved: vec![3] });
    }

    #[tokio::test]
    async fn what_the_sink_has_not_taken_is_delivered_again_with_the_same_ids() {
        let seen = delivered(Some(1), 3, &[1, 2], None).await;

        let again = ids(&["evt_2", "evt_3"]);
        assert_eq!(
            seen,
            Seen { delivered: vec![again.clone(), again.clone(), again], saved: vec![3] }
        );
    }

    #[tokio::test]
    async fn without_the_lease_nothing_is_delivered() {
        assert_eq!(delivered(None, 3, &[], None).await, Seen::default());
    }

    #[tokio::test]
    async fn an_owner_that_has_lost_its_lease_saves_nothing_and_stops() {
        let seen = delivered(Some(1), 3, &[], Some(3)).await;

        assert_eq!(seen, Seen { delivered: vec![ids(&["evt_2", "evt_3"])], saved: vec![] });
    }
}
