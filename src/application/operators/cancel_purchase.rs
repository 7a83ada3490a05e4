//! Cancel a purchase: an operator takes all of it back, or single items. The pieces are on sale again.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::application::codes::Codes;
use crate::application::ports::{
    CacheScope, PortError, PurchaseCanceller, SaleNotifications, SharedPages,
};
use crate::domain::cancellation::{CancelRefusal, Cancellation, Wanted};
use crate::domain::code::CodeClaim;
use crate::domain::ids::{BuyerId, SaleId};

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelCommand {
    /// The code of the purchase, as it was written; see [`CodeClaim::parse`].
    pub code: CodeClaim,
    /// Which of its lines.
    pub wanted: Wanted,
}

/// Why nothing is cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelPurchaseError {
    /// This service has not issued the code.
    #[error("there is no such code")]
    UnknownCode,
    /// The purchase, or an item of it, cannot be taken back.
    #[error(transparent)]
    Refused(#[from] CancelRefusal),
    /// A port failed. It may be unknown whether the purchase was cancelled: a repeat says so.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancelled {
    /// What was taken back.
    pub cancellation: Cancellation,
    /// Whether the instances were notified of it; otherwise they find it at their next poll.
    pub is_announced: bool,
}

/// The use case.
pub struct CancelPurchase {
    codes: Arc<Codes>,
    canceller: Arc<dyn PurchaseCanceller>,
    notifications: Arc<dyn SaleNotifications>,
    /// Pages that instances share, if reads are cached.
    pages: Option<Arc<dyn SharedPages>>,
}

impl CancelPurchase {
    /// Cancels through these ports.
    #[must_use]
    pub fn new(
        codes: Arc<Codes>,
        canceller: Arc<dyn PurchaseCanceller>,
        notifications: Arc<dyn SaleNotifications>,
        pages: Option<Arc<dyn SharedPages>>,
    ) -> Self {
        Self { codes, canceller, notifications, pages }
    }

    /// Takes the lines back, and records `actor` with it. Durable before it returns. A repeat changes nothing, and is refused.
    pub async fn execute(
        &self,
        command: &CancelCommand,
        actor: &str,
    ) -> Result<Cancelled, CancelPurchaseError> {
        let cancellation = self.take_back(command, actor).await?;
        let is_announced = self.announce(&[(command.code.sale, &cancellation.buyer)]).await;
        Ok(Cancelled { cancellation, is_announced })
    }

    /// The same for several purchases, in their order. Each is durable by itself; one announcement to the instances covers all of them.
    ///
    /// After a port has failed the rest is left alone: it would fail as well, and a purchase that was not tried needs no second look.
    pub async fn execute_all(
        &self,
        commands: &[CancelCommand],
        actor: &str,
    ) -> Vec<Result<Cancelled, CancelPurchaseError>> {
        let mut results = Vec::with_capacity(commands.len());
        for command in commands {
            let result = self.take_back(command, actor).await;
            let is_over = matches!(result, Err(CancelPurchaseError::Port(_)));
            results.push(result);
            if is_over {
                break;
            }
        }
        let taken: Vec<_> = commands
            .iter()
            .zip(&results)
            .filter_map(|(command, result)| Some((command.code.sale, &result.as_ref().ok()?.buyer)))
            .collect();
        let is_announced = taken.is_empty() || self.announce(&taken).await;
        let done = |cancellation| Cancelled { cancellation, is_announced };
        results.into_iter().map(|result| result.map(done)).collect()
    }

    async fn take_back(
        &self,
        CancelCommand { code, wanted }: &CancelCommand,
        actor: &str,
    ) -> Result<Cancellation, CancelPurchaseError> {
        if !self.codes.is_genuine(code).await? {
            return Err(CancelPurchaseError::UnknownCode);
        }
        Ok(self.canceller.cancel(*code, wanted, actor).await??)
    }

    /// After the commits. The adapters report failures; here they cost time alone: a poll, and the life of a page.
    async fn announce(&self, taken: &[(SaleId, &BuyerId)]) -> bool {
        let sales: BTreeSet<SaleId> = taken.iter().map(|(sale, _)| *sale).collect();
        if let Some(pages) = &self.pages {
            let buyers = taken.iter().map(|(_, buyer)| CacheScope::Buyer((*buyer).clone()));
            let scopes: Vec<_> =
                buyers.chain(sales.iter().copied().map(CacheScope::Sale)).collect();
            let _ = pages.forget(&scopes).await;
        }
        let mut is_announced = true;
        for sale in sales {
            is_announced &= self.notifications.changed(sale).await.is_ok();
        }
        is_announced
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::{CodeSigner, MockPurchaseCanceller, MockSaleNotifications};
    use crate::testing::builders::{at, attempt_id, buyer, sale_id, unavailable};
    use crate::testing::fakes::FakeSigner;
    use crate::testing::test_shop::codes_of;

    const SIGNER: FakeSigner = FakeSigner { key: 1 };

    fn cancellation() -> Cancellation {
        Cancellation {
            buyer: buyer("ann"),
            cancelled_at: at(9),
            lines: Vec::new(),
            pieces_left: 0,
            bought: 0,
        }
    }

    fn command(key: u16) -> CancelCommand {
        let code = FakeSigner { key }.sign(sale_id(1), attempt_id(7));
        CancelCommand { code, wanted: Wanted::All }
    }

    fn use_case(
        canceller: MockPurchaseCanceller,
        notifications: MockSaleNotifications,
    ) -> CancelPurchase {
        CancelPurchase::new(
            codes_of(Arc::new(SIGNER)),
            Arc::new(canceller),
            Arc::new(notifications),
            None,
        )
    }

    #[tokio::test]
    async fn a_forged_code_reaches_no_store() {
        let cancel = use_case(MockPurchaseCanceller::new(), MockSaleNotifications::new());

        let refused = cancel.execute(&command(2), "ann").await;

        assert!(matches!(refused, Err(CancelPurchaseError::UnknownCode)));
    }

    #[tokio::test]
    async fn a_cancellation_stands_though_no_instance_can_be_told() {
        let (mut canceller, mut notifications) =
            (MockPurchaseCanceller::new(), MockSaleNotifications::new());
        canceller.expect_cancel().once().returning(|_, _, _| Ok(Ok(cancellation())));
        notifications.expect_changed().once().returning(|_| Err(unavailable()));

        let done = use_case(canceller, notifications).execute(&command(1), "ann").await.unwrap();

        assert_eq!(done, Cancelled { cancellation: cancellation(), is_announced: false });
    }

    #[tokio::test]
    async fn the_instances_are_told_of_a_sale_once_after_all_of_its_purchases() {
        let (mut canceller, mut notifications) =
            (MockPurchaseCanceller::new(), MockSaleNotifications::new());
        canceller.expect_cancel().times(2).returning(|_, _, _| Ok(Ok(cancellation())));
        notifications.expect_changed().once().returning(|_| Ok(()));

        let commands = [command(1), command(2), command(1)];
        let results = use_case(canceller, notifications).execute_all(&commands, "ann").await;

        assert!(matches!(results[1], Err(CancelPurchaseError::UnknownCode)), "{results:?}");
        for done in [&results[0], &results[2]] {
            assert!(done.as_ref().is_ok_and(|done| done.is_announced), "{results:?}");
        }
    }

    #[tokio::test]
    async fn what_was_taken_back_before_a_port_fails_is_announced() {
        let (mut canceller, mut notifications) =
            (MockPurchaseCanceller::new(), MockSaleNotifications::new());
        canceller.expect_cancel().once().returning(|_, _, _| Ok(Ok(cancellation())));
        canceller.expect_cancel().once().returning(|_, _, _| Err(unavailable()));
        notifications.expect_changed().once().returning(|_| Ok(()));

        let commands = [command(1), command(1), command(1)];
        let results = use_case(canceller, notifications).execute_all(&commands, "ann").await;

        let [Ok(_), Err(CancelPurchaseError::Port(_))] = &results[..] else {
            panic!("{results:?}")
        };
    }

    #[tokio::test]
    async fn nothing_is_announced_that_did_not_happen() {
        let mut canceller = MockPurchaseCanceller::new();
        let refusal = || CancelRefusal::AlreadyCancelled(at(9));
        canceller.expect_cancel().returning(move |_, _, _| Ok(Err(refusal())));

        let refused =
            use_case(canceller, MockSaleNotifications::new()).execute(&command(1), "ann").await;

        let Err(CancelPurchaseError::Refused(reason)) = refused else { panic!("{refused:?}") };
        assert_eq!(reason, refusal());
    }
}
