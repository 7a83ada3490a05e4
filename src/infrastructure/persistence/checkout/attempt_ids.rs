//! Numbers for checkout attempts, taken from PostgreSQL in blocks. What is left of a block is lost with its instance.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::PgConnection;

use crate::domain::ids::AttemptId;
use crate::infrastructure::persistence::batch::contention::Company;
use crate::infrastructure::persistence::pool::error::DatabaseError;

/// Numbers in a block: the increment of the sequence `checkout_attempt_ids`.
const BLOCK: i64 = 1_000;

/// The block in use.
#[derive(Debug, Default)]
pub(crate) struct AttemptIds {
    block: Mutex<Block>,
}

#[derive(Debug, Default)]
struct Block {
    left: Range<i64>,
    /// The first number behind the block.
    end: Option<i64>,
}

impl AttemptIds {
    /// Takes as many numbers as wanted, growing. A sequence is not rolled back, so this is safe in any transaction. A block
    /// that is missing between two of ours has gone to somebody else, who is `company`.
    pub(crate) async fn take(
        &self,
        count: usize,
        connection: &mut PgConnection,
        company: &Company,
    ) -> Result<Vec<AttemptId>, DatabaseError> {
        let mut taken = Vec::with_capacity(count);
        loop {
            let missing = count - taken.len();
            taken.extend(self.block().left.by_ref().take(missing).filter_map(AttemptId::new));
            if taken.len() == count {
                return Ok(taken);
            }
            let first: i64 = sqlx::query_scalar("SELECT nextval('checkout_attempt_ids')")
                .fetch_one(&mut *connection)
                .await?;
            // Two writers may fetch a block at the same time: the later one's replaces what is left of the earlier one's.
            let mut block = self.block();
            if block.end.is_some_and(|end| end < first) {
                company.notice();
            }
            *block = Block { left: first..first + BLOCK, end: Some(first + BLOCK) };
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
    async fn who_takes_a_block_between_two_of_ours_is_noticed() {
        let shop = PostgresShop::open().await;
        let mut connection = shop.pool.acquire().await.unwrap();
        let (ours, theirs, company) =
            (AttemptIds::default(), AttemptIds::default(), Company::default());
        let nobody = Company::default();

        for ids in [&ours, &ours] {
            ids.take(BLOCKS, &mut connection, &company).await.unwrap();
        }
        let alone = company.gathers_for();
        theirs.take(1, &mut connection, &nobody).await.unwrap();
        let numbers = ours.take(BLOCKS, &mut connection, &company).await.unwrap();

        assert!(alone.is_zero() && nobody.gathers_for().is_zero());
        assert!(!company.gathers_for().is_zero() && !company.is_in_the_way());
        assert!(numbers.is_sorted() && numbers.len() == BLOCKS);
    }
}
