//! A health check with a fixed result.

use async_trait::async_trait;

use crate::application::ports::{Health, HealthCheck};

/// Up or down.
pub(crate) struct FakeHealthCheck {
    pub(crate) is_up: bool,
}

#[async_trait]
impl HealthCheck for FakeHealthCheck {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn check(&self) -> Health {
        if self.is_up { Health::Up } else { Health::Down("unavailable".to_owned()) }
    }
}
