//! Refusals with details.

use chrono::{DateTime, Utc};

use crate::application::ports::RefusalRecord;
use crate::domain::ids::{AttemptId, BuyerId, ItemId, RequestId, SaleId};
use crate::infrastructure::persistence::row::from_row;

/// The columns of a [`RefusalRow`], from a row `r` of `checkout_refusals`.
macro_rules! refusal_columns {
    () => {
        r"r.sale_id, r.refused_at, r.operation, r.reason, r.user_id, r.item_id, r.attempt_id, r.request_id,
           (
               SELECT s.stock - s.sold
               FROM items AS i
               JOIN item_stock AS s ON s.sale_id = i.sale_id AND s.item_no = i.item_no
               WHERE i.sale_id = r.sale_id AND i.item_id = r.item_id
           ) AS left_now,
           hashtextextended(format('%s %s', r.instance, r.sequence), 0) AS first, r.position::bigint AS second"
    };
}
pub(super) use refusal_columns;

from_row! {
    #[derive(Debug)]
    pub(super) struct RefusalRow {
        pub(super) sale_id: i64,
        pub(super) refused_at: DateTime<Utc>,
        pub(super) operation: String,
        pub(super) reason: String,
        pub(super) user_id: Option<String>,
        pub(super) item_id: Option<String>,
        pub(super) attempt_id: Option<i64>,
        pub(super) request_id: Option<String>,
        pub(super) left_now: Option<i32>,
        /// A number of its flush, and its place there.
        pub(super) first: i64,
        pub(super) second: i64,
    }
}

impl RefusalRow {
    /// What was written by a request is left out where it is no id any more: the rest still tells.
    pub(super) fn into_record(self) -> Option<RefusalRecord> {
        Some(RefusalRecord {
            sale: SaleId::new(self.sale_id)?,
            refused_at: self.refused_at,
            operation: self.operation,
            reason: self.reason,
            buyer: self.user_id.and_then(|text| BuyerId::parse(&text).ok()),
            item: self.item_id.and_then(|text| ItemId::parse(&text).ok()),
            attempt: self.attempt_id.and_then(AttemptId::new),
            request: self.request_id.and_then(|text| RequestId::parse(&text)),
            left_now: self.left_now,
        })
    }
}
