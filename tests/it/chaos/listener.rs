//! Listens to events, and compares what arrived with the purchases on record.

use std::collections::{BTreeMap, BTreeSet};

use async_nats::jetstream::{self, consumer};
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use serde_json::Value;
use sqlx::PgPool;

use crate::harness::servers::PrivateServers;
use crate::harness::until;

/// A purchase, as its event and its row name it.
type Purchase = (String, DateTime<Utc>);

/// NATS, to which all instances deliver.
#[derive(Debug)]
pub(crate) struct Listener {
    /// The server.
    pub(crate) nats: PrivateServers,
    /// Its URL.
    pub(crate) url: String,
}

impl Listener {
    /// Starts the server, if it is installed.
    pub(crate) fn start() -> Option<Self> {
        let started = PrivateServers::nats();
        if started.is_none() {
            eprintln!("chaos: NATS is not installed, so nobody listens to events");
        }
        started.map(|(nats, url)| Self { nats, url })
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
        let mut heard: BTreeMap<Purchase, BTreeSet<String>> = BTreeMap::new();
        for event in self.stored().await {
            if event["type"] == "flash_sale.purchase.settled.v1" {
                let data = &event["data"];
                let at = data["purchased_at"].as_str().unwrap().parse().unwrap();
                let ids = heard.entry((data["buyer_id"].as_str().unwrap().to_owned(), at));
                ids.or_default().insert(event["id"].as_str().unwrap().to_owned());
            }
        }
        let on_record: Vec<Purchase> =
            sqlx::query_as("SELECT user_id, purchased_at FROM purchases")
                .fetch_all(pool)
                .await
                .unwrap();
        let missing: Vec<&Purchase> =
            on_record.iter().filter(|purchase| !heard.contains_key(purchase)).collect();
        assert!(
            missing.is_empty(),
            "of {} purchases no event tells of {missing:?}",
            on_record.len()
        );
        let twice: Vec<_> = heard.iter().filter(|(_, ids)| ids.len() > 1).collect();
        assert!(twice.is_empty(), "several events tell of {twice:?}");
        assert!(may_have_lost || heard.len() == on_record.len(), "events of no purchase");
        eprintln!("chaos: {} events heard of {} purchases", heard.len(), on_record.len());
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
