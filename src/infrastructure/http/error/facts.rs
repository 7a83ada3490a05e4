//! Members of error bodies that both versions share.

use serde::Serialize;
use utoipa::ToSchema;

use super::catalogue::ApiError;
use crate::infrastructure::http::model::time::rfc3339;

/// What a client needs to know of a refusal.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Facts {
    /// Maximum number of pieces for one buyer, for `user_limit_exceeded`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = i32, minimum = 1, required = false)]
    limit: Option<i32>,
    /// Pieces that the buyer has bought in this sale, for `user_limit_exceeded`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = i32, minimum = 0, required = false)]
    bought: Option<i32>,
    /// Pieces in the buyer's open checkout, for `user_limit_exceeded`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = i32, minimum = 0, required = false)]
    collected: Option<i32>,
    /// When the sale starts, for `sale_not_started`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, example = "2027-01-31T15:00:00Z", required = false)]
    starts_at: Option<String>,
}

impl Facts {
    pub(super) fn of(error: &ApiError) -> Self {
        match error {
            ApiError::UserLimitExceeded(Some(facts)) => Self {
                limit: Some(facts.limit),
                bought: Some(facts.pieces.bought),
                collected: Some(facts.pieces.collected),
                starts_at: None,
            },
            ApiError::SaleNotStarted(Some(facts)) => {
                Self { starts_at: Some(rfc3339(facts.starts_at)), ..Self::default() }
            }
            _ => Self::default(),
        }
    }
}
