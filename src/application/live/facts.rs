//! What is sent to listeners.

use chrono::{DateTime, Utc};

use crate::domain::sale::SaleState;

/// The facts of an event. Listeners get the same facts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveFacts {
    /// The state of the sale.
    pub state: SaleState,
    /// Number of sold pieces.
    pub sold: i64,
    /// Number of pieces that are not sold.
    pub remaining: i64,
}

/// The facts at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveState {
    /// The facts.
    pub facts: LiveFacts,
    /// The database's clock.
    pub server_time: DateTime<Utc>,
}
