//! Converts the errors and refusals of use cases.

use std::sync::Arc;

use super::catalogue::ApiError;
use crate::application::checkout::CheckoutRefusal;
use crate::application::ports::{PortError, RefusalReason};
use crate::application::refusal_facts::RefusalFacts;

impl From<PortError> for ApiError {
    fn from(error: PortError) -> Self {
        let cause: fn(Arc<PortError>) -> Self = match &error {
            PortError::Unavailable { .. } => |error| Self::Unavailable(error),
            PortError::Overloaded(_) => |error| Self::Overloaded(error),
            PortError::Broken { .. } => |error| Self::Internal(error),
        };
        cause(Arc::new(error))
    }
}

impl From<CheckoutRefusal> for ApiError {
    fn from(refusal: CheckoutRefusal) -> Self {
        match refusal {
            CheckoutRefusal::BySale { reason, facts, .. } => Self::refused(reason, facts),
            CheckoutRefusal::QuantityBeyondLimit(_) => Self::UserLimitExceeded(None),
            CheckoutRefusal::SaleNotFound => Self::SaleNotFound,
            CheckoutRefusal::SaleArchived => Self::SaleArchived,
            CheckoutRefusal::NoActiveSale => Self::NoActiveSale,
            CheckoutRefusal::SaleIdRequired => Self::SaleIdRequired,
        }
    }
}

impl ApiError {
    /// The error of a refusal.
    pub(crate) fn refused(reason: RefusalReason, facts: RefusalFacts) -> Self {
        match reason {
            RefusalReason::ItemSoldOut => Self::ItemSoldOut,
            RefusalReason::SaleSoldOut => Self::SaleSoldOut,
            RefusalReason::ItemNotFound => Self::ItemNotFound,
            RefusalReason::BuyerLimit => Self::UserLimitExceeded(facts.limit),
            RefusalReason::NotStarted => Self::SaleNotStarted(facts.start),
            RefusalReason::Ended => Self::SaleEnded,
            RefusalReason::InProgress => Self::PurchaseInProgress,
            RefusalReason::Closed => Self::CheckoutClosed,
            RefusalReason::Empty => Self::CheckoutEmpty,
            RefusalReason::Changed => Self::PreconditionFailed,
            RefusalReason::ItemsUnavailable => Self::ItemsUnavailable,
            // Recorded for requests that failed; its answer is the failure's own, and has the same status and code.
            RefusalReason::Unavailable => Self::TimedOut,
        }
    }
}
