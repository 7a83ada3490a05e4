//! How credentials were judged.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// A kind of credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthKind {
    ApiKey,
    Token,
    Signature,
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
    /// They are a token that is not valid yet.
    NotYet,
    /// They name a key that is not known.
    UnknownKey,
    /// They are a token whose subject is not the id of a buyer.
    NoBuyer,
    /// They are a signature that was used before.
    Replayed,
    /// They are those of another buyer.
    OtherBuyer,
}

impl AuthKind {
    const ALL: [Self; 3] = [Self::ApiKey, Self::Token, Self::Signature];

    fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::Token => "token",
            Self::Signature => "signature",
        }
    }
}

impl AuthOutcome {
    const ALL: [Self; 11] = [
        Self::Accepted,
        Self::Missing,
        Self::Invalid,
        Self::Expired,
        Self::Forbidden,
        Self::Unavailable,
        Self::NotYet,
        Self::UnknownKey,
        Self::NoBuyer,
        Self::Replayed,
        Self::OtherBuyer,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Missing => "missing",
            Self::Invalid => "invalid",
            Self::Expired => "expired",
            Self::Forbidden => "forbidden",
            Self::Unavailable => "unavailable",
            Self::NotYet => "not_yet",
            Self::UnknownKey => "unknown_key",
            Self::NoBuyer => "no_buyer",
            Self::Replayed => "replayed",
            Self::OtherBuyer => "other_buyer",
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
