//! Numbers of checkout attempts, taken from PostgreSQL in blocks. The rest of a block is lost with its instance.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::PgConnection;

use crate::domain::ids::AttemptId;
use crate::infrastructure::persistence::batch::contention::ContentionTracker;
use crate::infrastructure::persistence::pool::error::DatabaseError;

/// Size of a block: the increment of the sequence `checkout_attempt_ids`.
const BLOCK: i64 = 1_000;

/// The block in use.
#[derive(Debug, Default)]
pub(crate) struct AttemptIds {
    block: Mutex<Block>,
}

#[derive(Debug, Default)]
struct Block {
    rest: Range<i64>,
    /// The first number after the block.
    end: Option<i64>,
}

impl AttemptIds {
    /// Takes this many numbers, in ascending order. A sequence is not rolled back, so this is safe in any transaction. Where a block
    /// between two of this instance's is missing, another instance has taken it, and so it writes too.
    pub(crate) async fn take(
        &self,
        count: usize,
        connection: &mut PgConnection,
        contention: &ContentionTracker,
    ) -> Result<Vec<AttemptId>, DatabaseError> {
        let mut taken = Vec::with_capacity(count);
        loop {
            let missing = count - taken.len();
            taken.extend(self.block().rest.by_ref().take(missing).filter_map(AttemptId::new));
            if taken.len() == count {
                return Ok(taken);
            }
            let first: i64 = sqlx::query_scalar("SELECT nextval('checkout_attempt_ids')")
                .fetch_one(&mut *connection)
                .await?;
            // Two writers may fetch a block at the same time: the later block replaces the rest of the earlier one.
            let mut block = self.block();
            if block.end.is_some_and(|end| end < first) {
                contention.record_other_writer();
            }
            *block = Block { rest: first..first + BLOCK, end: Some(first + BLOCK) };
        }
    }

    fn block(&self) -> MutexGuard<'_, Block> {
        self.block.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::servers::PostgresShop;

    const BLOCKS: usize = 1_000;

    #[tokio::test]
    async fn another_instance_that_takes_a_block_in_between_is_detected() {
        let shop = PostgresShop::open().await;
        let mut connection = shop.pool.acquire().await.unwrap();
        let (ours, theirs, contention) =
            (AttemptIds::default(), AttemptIds::default(), ContentionTracker::default());
        let other = ContentionTracker::default();

        for ids in [&ours, &ours] {
            ids.take(BLOCKS, &mut connection, &contention).await.unwrap();
        }
        let alone = contention.gather_delay();
        theirs.take(1, &mut connection, &other).await.unwrap();
        let numbers = ours.take(BLOCKS, &mut connection, &contention).await.unwrap();

        assert!(alone.is_zero() && other.gather_delay().is_zero());
        assert!(!contention.gather_delay().is_zero() && !contention.is_contended());
        assert!(numbers.is_sorted() && numbers.len() == BLOCKS);
    }
}
