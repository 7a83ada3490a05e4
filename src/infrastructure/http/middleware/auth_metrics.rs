//! How credentials were judged.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// A kind of credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthKind {
    ApiKey,
}

/// What became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthOutcome {
    /// They were accepted.
    Accepted,
    /// There were none.
    Missing,
    /// They were malformed, unknown, forged or revoked.
    Invalid,
    /// They have ended.
    Expired,
    /// They are valid, and not for this.
    Forbidden,
    /// They could not be judged.
    Unavailable,
}

impl AuthKind {
    const ALL: [Self; 1] = [Self::ApiKey];

    fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
        }
    }
}

impl AuthOutcome {
    const ALL: [Self; 6] = [
        Self::Accepted,
        Self::Missing,
        Self::Invalid,
        Self::Expired,
        Self::Forbidden,
        Self::Unavailable,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Missing => "missing",
            Self::Invalid => "invalid",
            Self::Expired => "expired",
            Self::Forbidden => "forbidden",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Counts them.
pub(crate) struct AuthMetrics {
    counters: Vec<[IntCounter; AuthOutcome::ALL.len()]>,
}

impl AuthMetrics {
    /// Registers the metric.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let total = IntCounterVec::new(
            Opts::new("flash_sale_auth_total", "Credentials that were judged."),
            &["kind", "outcome"],
        )?;
        registry.register(Box::new(total.clone()))?;
        let of_kind = |kind: AuthKind| {
            let child =
                |outcome: AuthOutcome| total.with_label_values(&[kind.as_str(), outcome.as_str()]);
            AuthOutcome::ALL.map(child)
        };
        Ok(Self { counters: AuthKind::ALL.into_iter().map(of_kind).collect() })
    }

    /// Counts one judgement.
    pub(crate) fn count(&self, kind: AuthKind, outcome: AuthOutcome) {
        self.counters[kind as usize][outcome as usize].inc();
    }
}
