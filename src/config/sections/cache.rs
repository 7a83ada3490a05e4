//! `cache.*`: the read cache.

use std::time::Duration;

use crate::config::reader::Reader;
use crate::config::units::{HOUR, MS};

/// `cache.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct CacheConfig {
    pub enabled: bool,
    pub sales_ttl: Duration,
    pub items_ttl: Duration,
    pub purchases_ttl: Duration,
    pub invalidation: CacheInvalidation,
    pub max_bytes: u64,
}

/// `cache.invalidation`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheInvalidation {
    /// A purchase makes all instances forget the sale's pages.
    Immediate,
    /// One reader reads them again, and the others get the outdated ones meanwhile.
    Lazy,
    /// They stay until they expire.
    Ttl,
}

impl CacheConfig {
    pub(crate) fn read(read: &mut Reader) -> Self {
        let ways = [
            ("immediate", CacheInvalidation::Immediate),
            ("lazy", CacheInvalidation::Lazy),
            ("ttl", CacheInvalidation::Ttl),
        ];
        let invalidation = read.choice("cache.invalidation", &ways);
        Self {
            enabled: read.flag("cache.enabled"),
            sales_ttl: read.duration("cache.sales_ttl", 10 * MS..=HOUR),
            items_ttl: read.duration("cache.items_ttl", 10 * MS..=HOUR),
            purchases_ttl: read.duration("cache.purchases_ttl", 10 * MS..=HOUR),
            invalidation: invalidation.unwrap_or(CacheInvalidation::Immediate),
            max_bytes: read.number("cache.max_bytes", 1_048_576..=1 << 40),
        }
    }

    /// The longest time that a page lives.
    #[must_use]
    pub fn longest_ttl(&self) -> Duration {
        self.sales_ttl.max(self.items_ttl).max(self.purchases_ttl)
    }
}
