//! A transaction a request: what group commit is measured against. The statements are the same, only nobody shares them.

use async_trait::async_trait;

use super::session::Session;
use super::splitting::{BatchTransaction, Splitting};
use crate::application::ports::{
    CheckoutBook, Collect, Collected, FoundCheckout, Ledger, PortError, Settle, Settled,
};
use crate::domain::ids::{AttemptId, SaleId};
use crate::domain::purchase::Outcome;
use crate::infrastructure::batching::BatchWork;
use crate::infrastructure::persistence::checkout::batch::CollectBatch;
use crate::infrastructure::persistence::checkout::store::found_checkout;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::purchase::batch::SettleBatch;
use crate::infrastructure::persistence::purchase::ledger::stored_outcome;

/// Collects and settles one by one.
pub(crate) struct PostgresDirect {
    database: Database,
    collecting: Splitting<CollectBatch>,
    settling: Splitting<SettleBatch>,
}

impl PostgresDirect {
    pub(crate) fn new(database: Database, retries: u32) -> Self {
        let collecting = Splitting {
            database: database.clone(),
            transaction: CollectBatch::new(database.clone()),
            retries,
        };
        let settling = Splitting {
            database: database.clone(),
            transaction: SettleBatch::new(database.clone()),
            retries,
        };
        Self { database, collecting, settling }
    }
}

/// A batch of one, on a connection of its own.
async fn alone<T: BatchTransaction>(
    work: &Splitting<T>,
    sale: SaleId,
    request: T::Request,
) -> Result<T::Reply, PortError> {
    let mut replies = work.serve(&mut Session::default(), sale, vec![request]).await;
    let none = || PortError::Broken { what: T::WHAT, source: "it was not answered".into() };
    replies.pop().unwrap_or_else(|| Err(none()))
}

#[async_trait]
impl CheckoutBook for PostgresDirect {
    async fn collect(&self, wanted: Collect) -> Result<Collected, PortError> {
        alone(&self.collecting, wanted.sale, wanted).await
    }

    async fn find(
        &self,
        sale: SaleId,
        attempt: AttemptId,
    ) -> Result<Option<FoundCheckout>, PortError> {
        found_checkout(&self.database, sale, attempt).await
    }
}

#[async_trait]
impl Ledger for PostgresDirect {
    async fn settle(&self, wanted: Settle) -> Result<Settled, PortError> {
        alone(&self.settling, wanted.sale, wanted).await
    }

    async fn outcome(
        &self,
        sale: SaleId,
        attempt: AttemptId,
    ) -> Result<Option<Outcome>, PortError> {
        stored_outcome(&self.database, sale, attempt).await
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::contracts::checkout_book::checkout_book_contract;
    use crate::testing::contracts::ledger::ledger_contract;
    use crate::testing::servers::PostgresShop;

    mod book {
        use super::*;

        checkout_book_contract!(PostgresShop::direct().await);
    }

    mod ledger {
        use super::*;

        ledger_contract!(PostgresShop::direct().await);
    }
}
