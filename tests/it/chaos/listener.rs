//! Listens to events, and compares what arrived with the purchases on record.

use std::collections::{BTreeMap, BTreeSet};

use async_nats::jetstream::{self, consumer};
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::PgPool;

use crate::harness::endpoint::Endpoint;
use crate::harness::process::Process;
use crate::harness::servers::PrivateServers;
use crate::harness::{Program, until};

/// A purchase, as its event and its row name it.
type Purchase = (String, DateTime<Utc>);

/// NATS and an endpoint of webhooks, and a worker that delivers beside the instances.
#[derive(Debug)]
pub(crate) struct Listener {
    worker: Option<Process>,
    /// The server.
    pub(crate) nats: PrivateServers,
    /// Its URL.
    pub(crate) url: String,
    /// The endpoint.
    pub(crate) endpoint: Endpoint,
}

impl Listener {
    /// Starts the server, if it is installed.
    pub(crate) async fn start() -> Option<Self> {
        let Some((nats, url)) = PrivateServers::nats() else {
            eprintln!("chaos: NATS is not installed, so no listener gets events");
            return None;
        };
        Some(Self { worker: None, nats, url, endpoint: Endpoint::start().await })
    }

    /// Hears of everything from now on.
    pub(crate) async fn listens_to(mut self, direct: &Program) -> Self {
        self.endpoint.is_added_by(direct).await;
        self.start_worker(direct);
        self
    }

    /// Starts the worker.
    pub(crate) fn start_worker(&mut self, direct: &Program) {
        self.worker = Some(direct.start(&["worker"]));
    }

    /// Kills the worker.
    pub(crate) async fn kill_worker(&mut self) {
        if let Some(mut worker) = self.worker.take() {
            worker.signal(Signal::SIGKILL);
            worker.exit().await;
        }
    }

    /// Waits until nothing is left to deliver. Fails the test unless every purchase on record has one event, by its id; others may
    /// have one too if a failover has lost them.
    pub(crate) async fn heard_everything(&self, pool: &PgPool, may_have_lost: bool) {
        until("all events are delivered", async || {
            let waiting = "SELECT (SELECT max(last) FROM outbox_order) - (SELECT min(position) FROM event_sinks),
                                  (SELECT count(*) FROM outbox WHERE position IS NULL)";
            let waiting: (Option<i64>, i64) = sqlx::query_as(waiting).fetch_one(pool).await.unwrap();
            waiting == (Some(0), 0)
        })
        .await;
        let on_record: Vec<Purchase> =
            sqlx::query_as("SELECT user_id, purchased_at FROM purchases")
                .fetch_all(pool)
                .await
                .unwrap();
        let heard = told_of(self.stored().await);
        assert_told("NATS", &heard, &on_record, may_have_lost);
        // It may have been away, and is probed after seconds.
        until("the endpoint has everything", async || {
            let heard = told_of(self.endpoint.received());
            on_record.iter().all(|purchase| heard.contains_key(purchase))
        })
        .await;
        assert_told("the endpoint", &told_of(self.endpoint.received()), &on_record, may_have_lost);
    }

    async fn stored(&self) -> Vec<Value> {
        let client = async_nats::connect(&self.url).await.unwrap();
        let mut stream = jetstream::new(client).get_stream("FLASH_SALE").await.unwrap();
        let messages = usize::try_from(stream.info().await.unwrap().state.messages).unwrap();
        let consumer =
            stream.create_consumer(consumer::pull::OrderedConfig::default()).await.unwrap();
        let events = consumer.messages().await.unwrap().take(messages);
        events
            .map(|message| serde_json::from_slice(&message.unwrap().payload).unwrap())
            .collect()
            .await
    }
}

/// The ids of the events that tell of each purchase.
fn told_of(events: Vec<Value>) -> BTreeMap<Purchase, BTreeSet<String>> {
    let mut heard: BTreeMap<Purchase, BTreeSet<String>> = BTreeMap::new();
    for event in events {
        if event["type"] == "flash_sale.purchase.settled.v1" {
            let data = &event["data"];
            let at = data["purchased_at"].as_str().unwrap().parse().unwrap();
            let ids = heard.entry((data["buyer_id"].as_str().unwrap().to_owned(), at));
            ids.or_default().insert(event["id"].as_str().unwrap().to_owned());
        }
    }
    heard
}

fn assert_told(
    sink: &str,
    heard: &BTreeMap<Purchase, BTreeSet<String>>,
    on_record: &[Purchase],
    may_have_lost: bool,
) {
    let missing: Vec<&Purchase> =
        on_record.iter().filter(|purchase| !heard.contains_key(purchase)).collect();
    assert!(missing.is_empty(), "{sink}: of {} no event tells of {missing:?}", on_record.len());
    let twice: Vec<_> = heard.iter().filter(|(_, ids)| ids.len() > 1).collect();
    assert!(twice.is_empty(), "{sink}: several events tell of {twice:?}");
    assert!(may_have_lost || heard.len() == on_record.len(), "{sink}: events of no purchase");
    eprintln!("chaos: {sink} has heard {} events of {} purchases", heard.len(), on_record.len());
}
