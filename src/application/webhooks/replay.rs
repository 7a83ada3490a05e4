//! Send the events of a time once more, with the same ids. The holder of the lease sends them beside new events; it goes on after a crash.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::application::ports::{EventPositions, NewReplay, PortError, WebhookId, WebhookStore};

/// Why nothing is sent again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The end is not after the beginning.
    #[error("--until must be later than --since")]
    Empty,
    /// A port failed.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// What is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    /// Batches of events in that time, of all kinds.
    pub batches: i64,
    /// Events of that time that were given up and are tried again.
    pub put_back: u64,
}

/// Asks for replays.
pub struct ReplayWebhook {
    store: Arc<dyn WebhookStore>,
    log: Arc<dyn EventPositions>,
}

impl ReplayWebhook {
    /// Over these ports.
    #[must_use]
    pub fn new(store: Arc<dyn WebhookStore>, log: Arc<dyn EventPositions>) -> Self {
        Self { store, log }
    }

    /// Events that were written from `since` until before `until`, or until now; `None` if the endpoint does not exist.
    pub async fn execute(
        &self,
        id: &WebhookId,
        since: DateTime<Utc>,
        until: Option<DateTime<Utc>>,
        actor: &str,
    ) -> Result<Option<Replayed>, ReplayError> {
        if until.is_some_and(|until| until <= since) {
            return Err(ReplayError::Empty);
        }
        let end = self.log.end().await?;
        let first = self.log.position_at(since).await?;
        let last = match until {
            Some(until) => self.log.position_before(until).await?.clamp(first - 1, end),
            None => end,
        };
        let replay = NewReplay { since, until, position: first - 1, last };
        let put_back = self.store.replay(id, &replay, actor).await?;
        Ok(put_back.map(|put_back| Replayed { batches: (last + 1 - first).max(0), put_back }))
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::clone_on_ref_ptr,
        reason = "an Arc of a fake becomes an Arc of its port, for which `Arc::clone` needs the fake's type"
    )]

    use super::*;
    use crate::testing::builders::{at, new_webhook};
    use crate::testing::fakes::{FakeEventLog, FakeWebhooks};

    #[tokio::test]
    async fn a_replay_is_of_the_batches_that_were_written_in_its_time() {
        let (store, log) = (FakeWebhooks::new(), FakeEventLog::new());
        for _ in 0..5 {
            // At the seconds 1 to 5.
            log.append(&["ann"]);
        }
        let webhook = new_webhook(1);
        store.add(&webhook, "eve").await.unwrap();
        let replay = ReplayWebhook::new(store.clone(), log);
        let batches = async |since, until: Option<i64>| {
            let asked = replay.execute(&webhook.id, at(since), until.map(at), "eve").await;
            asked.unwrap().unwrap().batches
        };

        assert_eq!(batches(2, Some(4)).await, 2);
        assert_eq!(batches(2, None).await, 4);
        assert_eq!(batches(0, Some(1)).await, 0);
        assert_eq!(batches(9, None).await, 0);
        let asked = store.replays(&webhook.id);
        assert_eq!(asked, [(1, 3), (1, 5)]);
    }

    #[tokio::test]
    async fn a_time_that_ends_before_it_begins_and_an_unknown_endpoint_are_named() {
        let replay = ReplayWebhook::new(FakeWebhooks::new(), FakeEventLog::new());
        let id = WebhookId::new("wh_0");

        let empty = replay.execute(&id, at(2), Some(at(2)), "eve").await;

        assert!(matches!(empty, Err(ReplayError::Empty)));
        assert_eq!(replay.execute(&id, at(2), None, "eve").await.unwrap(), None);
    }
}
