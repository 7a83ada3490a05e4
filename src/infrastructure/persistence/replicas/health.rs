//! The health check of a replica: without it the service goes on, and reads from others.

use std::sync::Arc;

use async_trait::async_trait;

use super::replica::Watched;
use super::state::ReplicaState;
use crate::application::ports::{Health, HealthCheck};

/// Reports what is known of a replica, which is examined all the time.
pub(crate) struct ReplicaHealth {
    name: String,
    watched: Arc<Watched>,
}

impl ReplicaHealth {
    pub(crate) fn new(watched: Arc<Watched>) -> Self {
        Self { name: format!("replica {}", watched.name), watched }
    }
}

#[async_trait]
impl HealthCheck for ReplicaHealth {
    fn name(&self) -> &str {
        &self.name
    }

    async fn check(&self) -> Health {
        match self.watched.state() {
            ReplicaState::Up => Health::Up,
            other => Health::Degraded(format!("the replica is not read from: {other}")),
        }
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let lag = self.watched.lag();
        lag.map(|lag| ("lag_ms", lag.as_millis().to_string())).into_iter().collect()
    }
}
