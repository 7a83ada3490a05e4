//! `batch.*`: group commit.

use std::time::Duration;

use crate::config::reader::Reader;
use crate::config::units::{MINUTE, MS};

/// `batch.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct BatchConfig {
    pub purchase_size: usize,
    pub checkout_size: usize,
    pub checkout_writers: usize,
    pub queue_size: usize,
    pub queue_timeout: Duration,
    pub wait_limit: Duration,
    pub retries: u32,
}

impl BatchConfig {
    pub(crate) fn read(read: &mut Reader) -> Self {
        Self {
            purchase_size: read.number("batch.purchase_size", 1..=10_000),
            checkout_size: read.number("batch.checkout_size", 1..=10_000),
            checkout_writers: read.number("batch.checkout_writers", 1..=64),
            queue_size: read.number("batch.queue_size", 1..=1_000_000),
            queue_timeout: read.duration("batch.queue_timeout", 10 * MS..=MINUTE),
            wait_limit: read.duration("batch.wait_limit", 10 * MS..=MINUTE),
            retries: read.number("batch.retries", 0..=100),
        }
    }
}
