//! The error type of version 2's handlers.

use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::catalogue::ApiError;
use super::problem_body::Details;
use crate::application::checkout::CheckoutRefusal;
use crate::application::ports::PortError;
use crate::domain::ids::ItemId;
use crate::infrastructure::http::model::purchase::Purchase;

/// An error with its details, written as problem details (RFC 9457).
pub(crate) struct Problem {
    error: ApiError,
    details: Box<Details>,
    /// Members that belong to one kind of problem alone.
    members: Map<String, Value>,
}

impl Problem {
    /// An error that concerns these items.
    pub(crate) fn about(error: ApiError, items: &[ItemId]) -> Self {
        let items = items.iter().map(|item| item.as_str().to_owned()).collect();
        Self { details: Box::new(Details { items, ..Details::default() }), ..error.into() }
    }

    /// An error with what is wrong with this request.
    pub(crate) fn detailed(error: ApiError, detail: &impl ToString) -> Self {
        let detail = Some(detail.to_string());
        Self { details: Box::new(Details { detail, ..Details::default() }), ..error.into() }
    }

    /// An error with members of its own.
    pub(crate) fn with_members(error: ApiError, members: Map<String, Value>) -> Self {
        Self { members, ..error.into() }
    }

    /// An error with the stored purchase.
    pub(crate) fn with(error: ApiError, purchase: Purchase) -> Self {
        let purchase = Some(Box::new(purchase));
        Self { details: Box::new(Details { purchase, ..Details::default() }), ..error.into() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if self.members.is_empty() {
            self.error.into_problem(*self.details)
        } else {
            self.error.with_members(self.members)
        }
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        Self { error, details: Box::default(), members: Map::new() }
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
