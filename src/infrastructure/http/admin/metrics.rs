//! What operators did over HTTP.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// Declares the actions with their labels, which are those of the audit.
macro_rules! actions {
    ($($action:ident = $label:literal,)+) => {
        /// What an operator did.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Action {
            $($action,)+
        }

        /// The labels, in the order of the actions.
        const LABELS: &[&str] = &[$($label),+];
    };
}

actions! {
    SaleCreated = "created",
    SaleChanged = "changed",
    SaleEnded = "ended",
    SaleCancelled = "cancelled",
    ItemsImported = "imported",
    Restocked = "restocked",
    PurchaseCancelled = "purchase_cancelled",
    JobEnqueued = "job_enqueued",
    JobRetried = "job_retried",
    JobsRetried = "jobs_retried",
    JobDiscarded = "job_discarded",
    ScheduleAdded = "schedule_added",
    SchedulePaused = "schedule_paused",
    ScheduleResumed = "schedule_resumed",
    ScheduleRan = "schedule_ran",
    ScheduleRemoved = "schedule_removed",
    WebhookAdded = "webhook_added",
    WebhookPaused = "webhook_paused",
    WebhookResumed = "webhook_resumed",
    WebhookRemoved = "webhook_removed",
    WebhookSecretRotated = "webhook_secret_rotated",
    WebhookTested = "webhook_tested",
    WebhookReplayed = "webhook_replayed",
    KeyCreated = "key_created",
    KeyRevoked = "key_revoked",
}

/// Counts it.
pub(crate) struct AdminMetrics {
    actions: Vec<IntCounter>,
}

impl AdminMetrics {
    /// Registers the metric.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let total = IntCounterVec::new(
            Opts::new("flash_sale_admin_actions_total", "Actions of operators over HTTP."),
            &["action"],
        )?;
        registry.register(Box::new(total.clone()))?;
        let actions = LABELS.iter().map(|label| total.with_label_values(&[*label]));
        Ok(Self { actions: actions.collect() })
    }

    /// Counts one action.
    pub(crate) fn count(&self, action: Action) {
        self.actions[action as usize].inc();
    }
}
