//! A transaction for each request: what group commit is measured against. The statements are the same; requests do not share them.

use async_trait::async_trait;

use super::batch::context::BatchContext;
use super::batch::splitting::{Retries, Splitting, rejected};
use super::batch::transaction::BatchTransaction;
use super::checkout::batch::CollectBatch;
use super::checkout::finder::CheckoutFinder;
use super::idempotency::look_ups::KeyLookUps;
use super::idempotency::request::{MaybeKeyed, unkeyed_answer};
use super::purchase::batch::SettleBatch;
use super::purchase::outcome_reader::OutcomeReader;
use crate::application::ports::{
    Caller, CheckoutStore, Collect, Collected, Done, FoundCheckout, Keyed, KeyedRequest, Ledger,
    PortError, Settle, Settled,
};
use crate::domain::ids::{AttemptId, SaleId};
use crate::domain::purchase::Outcome;
use crate::infrastructure::batching::{BatchWork, Rejected, batch_of};

/// Collects and settles one request at a time.
pub(crate) struct PostgresDirect {
    finder: CheckoutFinder,
    outcomes: OutcomeReader,
    keys: KeyLookUps,
    collecting: Splitting<CollectBatch>,
    settling: Splitting<SettleBatch>,
}

impl PostgresDirect {
    pub(crate) fn new(context: BatchContext, retries: Retries) -> Self {
        let transaction = CollectBatch::new(context.clone());
        let collecting = Splitting { context: context.clone(), transaction, retries };
        let transaction = SettleBatch::new(context.clone());
        let database = context.database.clone();
        let settling = Splitting { context, transaction, retries };
        Self {
            finder: CheckoutFinder::new(database.clone()),
            outcomes: OutcomeReader::new(database.clone()),
            keys: KeyLookUps::new(database),
            collecting,
            settling,
        }
    }
}

/// Runs a batch of one request, on a connection of its own.
async fn serve_alone<T: BatchTransaction>(
    work: &Splitting<T>,
    sale: SaleId,
    request: T::Request,
) -> Result<T::Reply, PortError> {
    let (batch, mut answers) = batch_of(vec![request]);
    // A batch of one request returns none as too long.
    let _ = work.serve(sale, batch).await;
    let answered = match answers.pop() {
        Some(answer) => answer.await.unwrap_or(Err(Rejected::Closed)),
        None => Err(Rejected::Closed),
    };
    answered.unwrap_or_else(|reason| Err(rejected(T::WHAT, reason)))
}

#[async_trait]
impl CheckoutStore for PostgresDirect {
    async fn collect(&self, request: Collect) -> Result<Collected, PortError> {
        let (sale, request) = (request.sale, MaybeKeyed::unkeyed(request));
        unkeyed_answer(CollectBatch::WHAT, serve_alone(&self.collecting, sale, request).await?)
    }

    async fn collect_keyed(
        &self,
        request: Collect,
        key: KeyedRequest,
    ) -> Result<Keyed<Collected, Done>, PortError> {
        let sale = request.sale;
        let caller = Caller::Buyer(request.buyer.clone(), Some(sale));
        let request = MaybeKeyed::keyed(request, key.clone());
        let reply = serve_alone(&self.collecting, sale, request).await?;
        self.keys.keyed_answer((caller, key), reply).await
    }

    async fn find(
        &self,
        sale: SaleId,
        attempt: AttemptId,
    ) -> Result<Option<FoundCheckout>, PortError> {
        self.finder.find(sale, attempt).await
    }
}

#[async_trait]
impl Ledger for PostgresDirect {
    async fn settle(&self, request: Settle) -> Result<Settled, PortError> {
        let (sale, request) = (request.sale, MaybeKeyed::unkeyed(request));
        unkeyed_answer(SettleBatch::WHAT, serve_alone(&self.settling, sale, request).await?)
    }

    async fn settle_keyed(
        &self,
        request: Settle,
        key: KeyedRequest,
    ) -> Result<Keyed<Settled, Done>, PortError> {
        let Settle { sale, attempt, .. } = request;
        let request = MaybeKeyed::keyed(request, key.clone());
        let reply = serve_alone(&self.settling, sale, request).await?;
        self.keys.keyed_answer((Caller::HolderOf(sale, attempt), key), reply).await
    }

    async fn outcome(
        &self,
        sale: SaleId,
        attempt: AttemptId,
    ) -> Result<Option<Outcome>, PortError> {
        self.outcomes.one(sale, attempt).await
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::contracts::checkout_store::checkout_store_contract;
    use crate::testing::contracts::ledger::ledger_contract;
    use crate::testing::servers::PostgresShop;

    mod checkouts {
        use super::*;

        checkout_store_contract!(PostgresShop::direct().await);
    }

    mod ledger {
        use super::*;

        ledger_contract!(PostgresShop::direct().await);
    }
}
