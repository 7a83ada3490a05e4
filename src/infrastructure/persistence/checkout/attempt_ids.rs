//! Numbers of checkout attempts, taken from PostgreSQL in blocks. The rest of a block is lost with its instance.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::PgConnection;

use crate::domain::ids::AttemptId;
use crate::infrastructure::persistence::batch::contention::ContentionTracker;
use crate::infrastructure::persistence::pool::error::DatabaseError;

/// Size of a block: the increment of the sequence `checkout_attempt_ids`.
const BLOCK: i64 = 1_000;

/// Takes a block, unless this session writes to another epoch than the one with this id, or the block is beyond that epoch: the next
/// one moves the sequence a moment before others see that it has begun.
const TAKE: &str = r"
    SELECT block.first
    FROM (SELECT nextval('checkout_attempt_ids') AS first WHERE is_current_epoch($1) OFFSET 0) AS block
    JOIN epochs ON epochs.id = $1 AND block.first < epochs.end_attempt
";

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
    /// The id of the epoch that gave it. A block of another one may be given to another instance as well.
    epoch: i64,
}

impl AttemptIds {
    /// Takes this many numbers of an epoch, in ascending order. A sequence is not rolled back, so this is safe in any transaction. Where
    /// a block between two of this instance's is missing, another instance has taken it, and so it writes too.
    pub(crate) async fn take(
        &self,
        count: usize,
        epoch: i64,
        connection: &mut PgConnection,
        contention: &ContentionTracker,
    ) -> Result<Vec<AttemptId>, DatabaseError> {
        let mut taken = Vec::with_capacity(count);
        loop {
            let missing = count - taken.len();
            taken.extend(self.block(epoch).rest.by_ref().take(missing).filter_map(AttemptId::new));
            if taken.len() == count {
                return Ok(taken);
            }
            let block: Option<i64> =
                sqlx::query_scalar(TAKE).bind(epoch).fetch_optional(&mut *connection).await?;
            let first = block.ok_or(DatabaseError::Outdated)?;
            // Two writers may fetch a block at the same time: the later block replaces the rest of the earlier one.
            let mut block = self.block(epoch);
            if block.end.is_some_and(|end| end < first) {
                contention.record_other_writer();
            }
            *block = Block { rest: first..first + BLOCK, end: Some(first + BLOCK), epoch };
        }
    }

    /// Drops the rest of the block: another transaction has used one of its numbers.
    pub(crate) fn forget(&self) {
        *self.block.lock().unwrap_or_else(PoisonError::into_inner) = Block::default();
    }

    /// The block, empty if it is of another epoch.
    fn block(&self, epoch: i64) -> MutexGuard<'_, Block> {
        let mut block = self.block.lock().unwrap_or_else(PoisonError::into_inner);
        if block.epoch != epoch {
            *block = Block { epoch, ..Block::default() };
        }
        block
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
        let epoch = shop.database().await.history().id();
        let mut connection = shop.pool.acquire().await.unwrap();
        let (ours, theirs, contention) =
            (AttemptIds::default(), AttemptIds::default(), ContentionTracker::default());
        let other = ContentionTracker::default();

        for ids in [&ours, &ours] {
            ids.take(BLOCKS, epoch, &mut connection, &contention).await.unwrap();
        }
        let alone = contention.gather_delay();
        theirs.take(1, epoch, &mut connection, &other).await.unwrap();
        let numbers = ours.take(BLOCKS, epoch, &mut connection, &contention).await.unwrap();

        assert!(alone.is_zero() && other.gather_delay().is_zero());
        assert!(!contention.gather_delay().is_zero() && !contention.is_contended());
        assert!(numbers.is_sorted() && numbers.len() == BLOCKS);
    }

    #[tokio::test]
    async fn a_block_of_an_epoch_that_has_ended_is_neither_used_nor_taken() {
        let shop = PostgresShop::open().await;
        let database = shop.database().await;
        let (ids, contention) = (AttemptIds::default(), ContentionTracker::default());
        let mut connection = shop.pool.acquire().await.unwrap();
        let old = database.history().id();
        ids.take(1, old, &mut connection, &contention).await.unwrap();
        shop.lose_history().await;
        // The sequence has not been moved yet: its numbers may be those that the lost history gave.
        let early = AttemptIds::default().take(1, old, &mut connection, &contention).await;
        database.begin_history().await.unwrap();
        let new = database.history().id();

        let numbers = ids.take(1, new, &mut connection, &contention).await.unwrap();
        let late = AttemptIds::default().take(1, old, &mut connection, &contention).await;

        assert!(numbers[0].get() >= 1 << 34, "{numbers:?}");
        for outdated in [early, late] {
            assert!(matches!(outdated, Err(DatabaseError::Outdated)), "{outdated:?}");
        }
    }

    #[tokio::test]
    async fn a_block_beyond_the_epoch_is_not_used() {
        let shop = PostgresShop::open().await;
        let (database, contention) = (shop.database().await, ContentionTracker::default());
        let mut connection = shop.pool.acquire().await.unwrap();
        // As while another instance begins the next epoch, and has not committed it yet.
        shop.execute("SELECT setval('checkout_attempt_ids', 17179869184, false)").await;

        let epoch = database.history().id();
        let taken = AttemptIds::default().take(1, epoch, &mut connection, &contention).await;

        assert!(matches!(taken, Err(DatabaseError::Outdated)), "{taken:?}");
    }
}
