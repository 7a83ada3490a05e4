//! The configuration in force: it changes while the service runs, whole or not at all.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::loaded::Config;

/// The keys that change without a restart. `config/default.yaml` marks them; all others take effect at the next start.
pub const LIVE_KEYS: &[&str] = &[
    "checkout.code_keys",
    "events.keep",
    "http.body_read_timeout",
    "http.header_read_timeout",
    "http.idle_timeout",
    "http.max_body_bytes",
    "http.max_head_bytes",
    "http.max_streams",
    "http.request_timeout",
    "http.write_timeout",
    "idempotency.keep",
    "jobs.keep_dead",
    "jobs.keep_done",
    "jobs.timeout",
    "limits.address",
    "limits.api_key",
    "limits.buyer",
    "limits.local_share",
    "limits.routes",
    "log.level",
    "log.requests",
    "monitoring.check_timeout",
    "retention.keep",
    "schedule.buyer_limit",
    "schedule.cron",
    "schedule.duration",
    "schedule.enabled",
    "schedule.items",
    "schedule.stock",
    "schedule.time_zone",
    "shutdown.drain",
    "shutdown.grace",
];

/// The configuration in force. Cloning shares it.
#[derive(Clone)]
pub struct InForce(Arc<ArcSwap<Config>>);

impl InForce {
    /// Begins with this configuration.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(config)))
    }

    /// The configuration of now.
    #[must_use]
    pub fn get(&self) -> Arc<Config> {
        self.0.load_full()
    }

    /// Puts another one in force.
    pub fn replace(&self, config: Arc<Config>) {
        self.0.store(config);
    }

    /// A value of the configuration of each moment.
    #[must_use]
    pub fn setting<T>(&self, read: fn(&Config) -> T) -> Setting<T> {
        Setting(Source::InForce(self.clone(), read))
    }
}

impl Debug for InForce {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InForce").finish_non_exhaustive()
    }
}

/// A value that may change while the service runs. Reading it takes no lock.
#[derive(Debug, Clone)]
pub struct Setting<T>(Source<T>);

#[derive(Debug, Clone)]
enum Source<T> {
    Fixed(T),
    InForce(InForce, fn(&Config) -> T),
}

impl<T: Clone> Setting<T> {
    /// A value that never changes.
    #[must_use]
    pub fn fixed(value: T) -> Self {
        Self(Source::Fixed(value))
    }

    /// The value of now.
    #[must_use]
    pub fn get(&self) -> T {
        match &self.0 {
            Source::Fixed(value) => value.clone(),
            Source::InForce(config, read) => read(&config.0.load()),
        }
    }
}
