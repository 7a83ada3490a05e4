//! Metrics of the pool and its statements. Label children are resolved once.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use super::error::ErrorClass;

/// Statements that are timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Statement {
    Begin,
    LockBuyers,
    ReadCheckouts,
    WriteCheckouts,
    RemoveLines,
    ReadPurchases,
    ReadOutcomes,
    LockItems,
    WritePurchases,
    ReadKeys,
    WriteKeys,
    Commit,
    Rollback,
    LiveSales,
    Catalogue,
    Read,
    CreateSale,
    FlushRefusals,
    PruneKeys,
    Outbox,
    CloseSale,
    Webhooks,
    Jobs,
    CountJobs,
    PruneJobs,
    Schedules,
    EditSale,
    Import,
    ApiKeys,
    Position,
    Retention,
}

impl Statement {
    pub(crate) const ALL: [Self; 31] = [
        Self::Begin,
        Self::LockBuyers,
        Self::ReadCheckouts,
        Self::WriteCheckouts,
        Self::RemoveLines,
        Self::ReadPurchases,
        Self::ReadOutcomes,
        Self::LockItems,
        Self::WritePurchases,
        Self::ReadKeys,
        Self::WriteKeys,
        Self::Commit,
        Self::Rollback,
        Self::LiveSales,
        Self::Catalogue,
        Self::Read,
        Self::CreateSale,
        Self::FlushRefusals,
        Self::PruneKeys,
        Self::Outbox,
        Self::CloseSale,
        Self::Webhooks,
        Self::Jobs,
        Self::CountJobs,
        Self::PruneJobs,
        Self::Schedules,
        Self::EditSale,
        Self::Import,
        Self::ApiKeys,
        Self::Position,
        Self::Retention,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::LockBuyers => "lock_buyers",
            Self::ReadCheckouts => "read_checkouts",
            Self::WriteCheckouts => "write_checkouts",
            Self::RemoveLines => "remove_lines",
            Self::ReadPurchases => "read_purchases",
            Self::ReadOutcomes => "read_outcomes",
            Self::LockItems => "lock_items",
            Self::WritePurchases => "write_purchases",
            Self::ReadKeys => "read_keys",
            Self::WriteKeys => "write_keys",
            Self::Commit => "commit",
            Self::Rollback => "rollback",
            Self::LiveSales => "live_sales",
            Self::Catalogue => "catalogue",
            Self::Read => "read",
            Self::CreateSale => "create_sale",
            Self::FlushRefusals => "flush_refusals",
            Self::PruneKeys => "prune_keys",
            Self::Outbox => "outbox",
            Self::CloseSale => "close_sale",
            Self::Webhooks => "webhooks",
            Self::Jobs => "jobs",
            Self::CountJobs => "count_jobs",
            Self::PruneJobs => "prune_jobs",
            Self::Schedules => "schedules",
            Self::EditSale => "edit_sale",
            Self::Import => "import",
            Self::ApiKeys => "api_keys",
            Self::Position => "position",
            Self::Retention => "retention",
        }
    }
}

/// The registered metrics.
#[derive(Debug)]
pub(crate) struct DatabaseMetrics {
    acquire: Histogram,
    queries: [Histogram; Statement::ALL.len()],
    errors: [IntCounter; ErrorClass::ALL.len()],
    in_use: IntGauge,
    idle: IntGauge,
    max: IntGauge,
    waiting: IntGauge,
}

impl DatabaseMetrics {
    /// Registers the metrics.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let buckets = vec![
            0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
            2.5, 5.0,
        ];
        let acquire = Histogram::with_opts(
            HistogramOpts::new(
                "flash_sale_db_acquire_duration_seconds",
                "Time to get a connection.",
            )
            .buckets(buckets.clone()),
        )?;
        let queries = HistogramVec::new(
            HistogramOpts::new(
                "flash_sale_db_query_duration_seconds",
                "Time that statements took, by kind.",
            )
            .buckets(buckets),
            &["statement"],
        )?;
        let errors = IntCounterVec::new(
            Opts::new("flash_sale_db_errors_total", "Errors of PostgreSQL, by class."),
            &["class"],
        )?;
        let connections = IntGaugeVec::new(
            Opts::new("flash_sale_db_connections", "Connections of the pool, by state."),
            &["state"],
        )?;
        let waiting = IntGauge::new(
            "flash_sale_db_connection_waiters",
            "Batches and reads that wait for a connection.",
        )?;
        registry.register(Box::new(acquire.clone()))?;
        registry.register(Box::new(queries.clone()))?;
        registry.register(Box::new(errors.clone()))?;
        registry.register(Box::new(connections.clone()))?;
        registry.register(Box::new(waiting.clone()))?;
        Ok(Self {
            acquire,
            queries: Statement::ALL
                .map(|statement| queries.with_label_values(&[statement.as_str()])),
            errors: ErrorClass::ALL.map(|class| errors.with_label_values(&[class.as_str()])),
            in_use: connections.with_label_values(&["in_use"]),
            idle: connections.with_label_values(&["idle"]),
            max: connections.with_label_values(&["max"]),
            waiting,
        })
    }

    pub(crate) fn acquired(&self, took: Duration) {
        self.acquire.observe(took.as_secs_f64());
    }

    pub(crate) fn queried(&self, statement: Statement, took: Duration) {
        self.queries[statement as usize].observe(took.as_secs_f64());
    }

    /// Statements of this kind so far.
    #[cfg(test)]
    pub(crate) fn count(&self, statement: Statement) -> u64 {
        self.queries[statement as usize].get_sample_count()
    }

    pub(crate) fn failed(&self, class: ErrorClass) {
        self.errors[class as usize].inc();
    }

    pub(crate) fn connections(&self, size: u32, idle: u32, max: u32) {
        self.in_use.set(i64::from(size.saturating_sub(idle)));
        self.idle.set(i64::from(idle));
        self.max.set(i64::from(max));
    }

    pub(crate) fn waiting(&self, callers: usize) {
        self.waiting.set(i64::try_from(callers).unwrap_or(i64::MAX));
    }
}
