//! Listens for jobs that wait.

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use sqlx::postgres::PgListener;

use crate::application::ports::JobNotifications;
use crate::infrastructure::persistence::pool::database::Database;

/// Where `notify!` tells, with the schema in front.
const CHANNEL: &str = "public.river_insert";
/// Pause before PostgreSQL is asked again. Until then workers look for jobs at intervals.
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct Payload {
    queue: String,
}

/// Listens on a connection of its own.
pub(crate) struct PostgresJobNotifications {
    database: Database,
}

impl PostgresJobNotifications {
    /// `database` has a single connection, which is used only here.
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }

    async fn listen(
        &self,
        tell: &(dyn for<'q> Fn(Option<&'q str>) + Send + Sync),
    ) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(self.database.driver_pool()).await?;
        listener.listen(CHANNEL).await?;
        tell(None);
        // Ends with the connection: a new one may have missed something.
        while let Some(notification) = listener.try_recv().await? {
            let payload = serde_json::from_str::<Payload>(notification.payload());
            tell(payload.ok().as_ref().map(|payload| payload.queue.as_str()));
        }
        Ok(())
    }
}

#[async_trait]
impl JobNotifications for PostgresJobNotifications {
    async fn follow(&self, tell: &(dyn for<'q> Fn(Option<&'q str>) + Send + Sync)) {
        loop {
            if let Err(error) = self.listen(tell).await {
                tracing::debug!(%error, "nothing tells of new jobs");
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::application::ports::JobQueue;
    use crate::infrastructure::persistence::jobs::enqueue::PostgresJobQueue;
    use crate::testing::builders::a_new_job;
    use crate::testing::servers::PostgresShop;

    #[tokio::test]
    async fn the_queue_of_a_new_job_is_told_also_after_the_connection_was_lost() {
        let shop = PostgresShop::open().await;
        let database = shop.database().await;
        let queue = PostgresJobQueue::new(database.clone());
        let notifications = PostgresJobNotifications::new(database.separate(1));
        let (sender, mut told) = mpsc::unbounded_channel();
        let tell = |queue: Option<&str>| drop(sender.send(queue.map(str::to_owned)));

        let enqueue = async {
            for _ in 0..2 {
                assert_eq!(told.recv().await.unwrap(), None);
                queue.enqueue(&a_new_job(), "eve").await.unwrap();
                assert_eq!(told.recv().await.unwrap().as_deref(), Some("default"));
                let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                           WHERE datname = current_database() AND query LIKE 'LISTEN%'";
                shop.execute(end).await;
            }
        };
        tokio::select! {
            () = notifications.follow(&tell) => {}
            () = enqueue => {}
        }
    }
}
