//! `board.*`: the in-memory cache of sales.

use std::time::Duration;

use crate::config::reader::Reader;
use crate::config::units::MS;

/// `board.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct SaleCacheConfig {
    pub poll_interval: Duration,
    pub unknown_sales: usize,
    pub item_bytes: usize,
}

impl SaleCacheConfig {
    pub(crate) fn read(read: &mut Reader) -> Self {
        Self {
            poll_interval: read.duration("board.poll_interval", 10 * MS..=900 * MS),
            unknown_sales: read.number("board.unknown_sales", 1..=1_000_000),
            item_bytes: read.number("board.item_bytes", 0..=1 << 40),
        }
    }
}
