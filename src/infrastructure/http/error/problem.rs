//! The error type of version 2's handlers.

use axum::response::{IntoResponse, Response};

use super::catalogue::ApiError;
use super::problem_body::Details;
use crate::application::checkout::CheckoutRefusal;
use crate::application::ports::PortError;
use crate::domain::ids::ItemId;
use crate::infrastructure::http::model::purchase::Purchase;

/// An error with its details, written as problem details (RFC 9457).
pub(crate) struct Problem {
    error: ApiError,
    details: Details,
}

impl Problem {
    /// An error that concerns these items.
    pub(crate) fn about(error: ApiError, items: &[ItemId]) -> Self {
        let items = items.iter().map(|item| item.as_str().to_owned()).collect();
        Self { error, details: Details { items, purchase: None } }
    }

    /// An error with the stored purchase.
    pub(crate) fn with(error: ApiError, purchase: Purchase) -> Self {
        Self { error, details: Details { items: Vec::new(), purchase: Some(Box::new(purchase)) } }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.error.into_problem(self.details)
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        Self { error, details: Details::default() }
    }
}

impl From<CheckoutRefusal> for Problem {
    fn from(refusal: CheckoutRefusal) -> Self {
        match refusal {
            CheckoutRefusal::BySale { reason, items, facts } => {
                Self::about(ApiError::refused(reason, facts), &items)
            }
            refusal => ApiError::from(refusal).into(),
        }
    }
}

impl From<PortError> for Problem {
    fn from(error: PortError) -> Self {
        ApiError::from(error).into()
    }
}
