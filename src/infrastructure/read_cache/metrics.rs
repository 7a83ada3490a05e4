//! Metrics of the read cache. Label children are resolved once.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::application::ports::CacheKind;

const KINDS: usize = CacheKind::ALL.len();

/// Where a page was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// In this process, or by a read that another request had begun.
    InProcess,
    /// In Redis.
    InRedis,
    /// Nowhere: it was read.
    Nowhere,
}

/// The registered metrics.
#[derive(Debug)]
pub(crate) struct ReadCacheMetrics {
    hits: [IntCounter; KINDS],
    misses: [IntCounter; KINDS],
    in_process: IntCounter,
    in_redis: IntCounter,
    pages: IntGauge,
    bytes: IntGauge,
}

impl ReadCacheMetrics {
    /// Registers the metrics.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let requests = IntCounterVec::new(
            Opts::new(
                "flash_sale_cache_requests_total",
                "Reads that may be cached, by kind and by whether they were.",
            ),
            &["kind", "result"],
        )?;
        let hits = IntCounterVec::new(
            Opts::new("flash_sale_cache_hits_total", "Cached reads, by where they were cached."),
            &["tier"],
        )?;
        let pages =
            IntGauge::new("flash_sale_cache_pages", "Pages of the read cache in this process.")?;
        let bytes =
            IntGauge::new("flash_sale_cache_bytes", "Bytes of the read cache in this process.")?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(hits.clone()))?;
        registry.register(Box::new(pages.clone()))?;
        registry.register(Box::new(bytes.clone()))?;
        let of = |result: &str| {
            CacheKind::ALL.map(|kind| requests.with_label_values(&[kind.as_str(), result]))
        };
        Ok(Self {
            hits: of("hit"),
            misses: of("miss"),
            in_process: hits.with_label_values(&["process"]),
            in_redis: hits.with_label_values(&["redis"]),
            pages,
            bytes,
        })
    }

    pub(super) fn asked(&self, kind: CacheKind, found: Found) {
        match found {
            Found::InProcess => {
                self.hits[kind as usize].inc();
                self.in_process.inc();
            }
            Found::InRedis => {
                self.hits[kind as usize].inc();
                self.in_redis.inc();
            }
            Found::Nowhere => self.misses[kind as usize].inc(),
        }
    }

    pub(super) fn holds(&self, pages: u64, bytes: u64) {
        self.pages.set(i64::try_from(pages).unwrap_or(i64::MAX));
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
