//! Who sends a request, and whether it was counted.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;

use super::metrics::AccessMetrics;
use super::rate_headers;
use crate::application::ports::{Admission, Buckets, LimitedBy, RateLimiter};
use crate::domain::ids::BuyerId;
use crate::infrastructure::http::error::{ApiError, RateLimited};
use crate::infrastructure::http::middleware::auth_metrics::{AuthKind, AuthOutcome};

/// Who sends a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Principal {
    /// As the request says.
    #[default]
    Anyone,
    /// This buyer.
    Buyer(BuyerId),
    /// A service, which may buy for every buyer; the id of its key.
    Service(String),
}

/// The sender of a request, for its handler.
#[derive(Clone, Default)]
pub(crate) struct Caller {
    principal: Principal,
    metrics: Option<Arc<AccessMetrics>>,
    /// Boxed: a request without limits has no room for it.
    counting: Option<Box<Counting>>,
}

/// A request that has limits.
#[derive(Clone)]
pub(super) struct Counting {
    pub(super) limiter: Arc<dyn RateLimiter>,
    pub(super) buckets: Buckets,
    /// How it was counted; `None` while it is not.
    pub(super) admission: Option<Admission>,
}

impl Counting {
    /// Counts the request by this name, if there is a limit of the kind.
    pub(super) fn fill(&mut self, by: LimitedBy, name: &str) {
        if let Some(bucket) = self.limiter.bucket(by, name) {
            self.buckets.set(bucket);
        }
    }
}

impl Caller {
    pub(super) fn new(
        metrics: &Arc<AccessMetrics>,
        limiter: Option<&Arc<dyn RateLimiter>>,
    ) -> Self {
        let counting = limiter.map(|limiter| {
            let (limiter, buckets) = (Arc::clone(limiter), Buckets::default());
            Box::new(Counting { limiter, buckets, admission: None })
        });
        Self { principal: Principal::Anyone, metrics: Some(Arc::clone(metrics)), counting }
    }

    pub(super) fn is(&mut self, principal: Principal) {
        self.principal = principal;
    }

    /// Who it is, and how it is counted.
    pub(super) fn parts(&mut self) -> (&Principal, Option<&mut Counting>) {
        (&self.principal, self.counting.as_deref_mut())
    }

    /// The caller as handlers of the router get it: it is counted already.
    pub(super) fn counted(&self) -> Self {
        Self { counting: None, ..self.clone() }
    }

    /// The buyer that the caller is, if it may be no other.
    pub(crate) fn buyer(&self) -> Option<&BuyerId> {
        match &self.principal {
            Principal::Buyer(buyer) => Some(buyer),
            Principal::Anyone | Principal::Service(_) => None,
        }
    }

    /// The buyer for whom the request is, which names this one or none; `None` if nothing says who it is.
    pub(crate) fn buyer_of(&self, named: Option<BuyerId>) -> Result<Option<BuyerId>, ApiError> {
        let Some(own) = self.buyer() else { return Ok(named) };
        match named {
            Some(named) if named != *own => Err(self.not_theirs()),
            _ => Ok(Some(own.clone())),
        }
    }

    /// Refuses what belongs to another buyer.
    pub(crate) fn check_owner(&self, owner: &BuyerId) -> Result<(), ApiError> {
        if self.buyer().is_none_or(|own| own == owner) { Ok(()) } else { Err(self.not_theirs()) }
    }

    /// The error of a request for what belongs to another buyer.
    pub(crate) fn not_theirs(&self) -> ApiError {
        if let Some(metrics) = &self.metrics {
            metrics.credential(AuthKind::Token, AuthOutcome::OtherBuyer);
        }
        ApiError::NotYourCheckout
    }

    /// Counts the request before it has an effect.
    pub(crate) async fn admit(&mut self) -> Result<(), ApiError> {
        let Some(Counting { limiter, buckets, admission: admission @ None }) =
            self.counting.as_deref_mut()
        else {
            return Ok(());
        };
        let admitted = limiter.admit(buckets).await;
        *admission = Some(admitted);
        self.result_of(&admitted)
    }

    /// Counts a request that is answered from memory, without I/O; `None` if only [`Self::admit`] can tell.
    pub(crate) fn admit_at_once(&mut self) -> Option<Result<(), ApiError>> {
        let Some(Counting { limiter, buckets, admission: admission @ None }) =
            self.counting.as_deref_mut()
        else {
            return Some(Ok(()));
        };
        let admitted = limiter.admit_from_memory(buckets)?;
        *admission = Some(admitted);
        Some(self.result_of(&admitted))
    }

    /// Refuses the request if one of its limits is known to be reached.
    pub(super) fn refuse_if_limited(&mut self) -> Result<(), ApiError> {
        let Some(Counting { limiter, buckets, admission }) = self.counting.as_deref_mut() else {
            return Ok(());
        };
        let Some(refused) = limiter.refused(buckets) else { return Ok(()) };
        *admission = Some(refused);
        self.result_of(&refused)
    }

    /// Counts the request if it was answered uncounted, and adds its limits to the response.
    pub(crate) fn finish(&self, headers: &mut HeaderMap) {
        match self.counting.as_deref() {
            Some(Counting { admission: Some(admission), .. }) => {
                rate_headers::add(headers, admission);
            }
            Some(Counting { limiter, buckets, admission: None }) if !buckets.is_empty() => {
                limiter.count(buckets);
            }
            _ => {}
        }
    }

    fn result_of(&self, admission: &Admission) -> Result<(), ApiError> {
        let Some((by, wait)) = admission.refused else { return Ok(()) };
        if let Some(metrics) = &self.metrics {
            metrics.limited(by);
        }
        Err(ApiError::RateLimited(RateLimited {
            by: by.as_str(),
            retry_after: rate_headers::seconds(wait).max(1),
        }))
    }
}

/// Who sends the request, as the gate has found out; as the request says, if there is no gate.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}
