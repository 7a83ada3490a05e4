//! `idempotency.*`: the retention of idempotency keys.

use std::time::Duration;

use crate::config::reader::Reader;
use crate::config::units::{DAY, HOUR};

/// `idempotency.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct IdempotencyConfig {
    pub keep: Duration,
}

impl IdempotencyConfig {
    pub(crate) fn read(read: &mut Reader) -> Self {
        Self { keep: read.duration("idempotency.keep", HOUR..=365 * DAY) }
    }
}
