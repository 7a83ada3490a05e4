//! Numbers for checkout attempts, taken from PostgreSQL in blocks. What is left of a block is lost with its instance.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use sqlx::PgConnection;

use super::error::DatabaseError;
use crate::domain::ids::AttemptId;

/// Numbers in a block: the increment of the sequence `checkout_attempt_ids`.
const BLOCK: i64 = 1_000;

/// What is left of the current block.
#[derive(Debug, Default)]
pub(super) struct AttemptIds {
    left: Mutex<Range<i64>>,
}

impl AttemptIds {
    /// Takes as many numbers as wanted, growing. A sequence is not rolled back, so this is safe in any transaction.
    pub(super) async fn take(
        &self,
        count: usize,
        connection: &mut PgConnection,
    ) -> Result<Vec<AttemptId>, DatabaseError> {
        let mut taken = Vec::with_capacity(count);
        loop {
            {
                let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
                let missing = count - taken.len();
                taken.extend(left.by_ref().take(missing).filter_map(AttemptId::new));
            }
            if taken.len() == count {
                return Ok(taken);
            }
            let first: i64 = sqlx::query_scalar("SELECT nextval('checkout_attempt_ids')")
                .fetch_one(&mut *connection)
                .await?;
            // Two writers may fetch a block at the same time: the later one's replaces what is left of the earlier one's.
            *self.left.lock().unwrap_or_else(PoisonError::into_inner) = first..first + BLOCK;
        }
    }
}
