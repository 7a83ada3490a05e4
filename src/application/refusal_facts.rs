//! What a client needs to know of a refusal to do better next time.

use chrono::{DateTime, Utc};

use super::sale_cache::{CachedSale, SaleCache};
use crate::domain::checkout::BuyerPieces;

/// The facts of a refusal, as far as they are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefusalFacts {
    /// At the buyer's limit.
    pub limit: Option<LimitFacts>,
    /// Before the start.
    pub start: Option<StartFacts>,
}

/// A buyer's limit, and what counts towards it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitFacts {
    /// Maximum number of pieces.
    pub limit: i32,
    /// The pieces that the buyer has.
    pub pieces: BuyerPieces,
}

/// The start of a sale, and the time of the refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartFacts {
    /// When the sale starts.
    pub starts_at: DateTime<Utc>,
    /// The database's clock.
    pub now: DateTime<Utc>,
}

impl StartFacts {
    /// The start of this sale; `None` while the database's clock is not known.
    #[must_use]
    pub fn of(sale_cache: &SaleCache, cached: &CachedSale) -> Option<Self> {
        let now = sale_cache.clock().database()?.at;
        Some(Self { starts_at: cached.sale.window.starts_at(), now })
    }
}
