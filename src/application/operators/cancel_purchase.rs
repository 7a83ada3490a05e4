//! Cancel a purchase: an operator takes all of it back, or single items. The pieces are on sale again.

use std::sync::Arc;

use crate::application::codes::Codes;
use crate::application::ports::{CacheScope, PortError, PurchaseCanceller, SaleNews, SharedPages};
use crate::domain::cancellation::{CancelRefusal, Cancellation, Wanted};
use crate::domain::code::CodeClaim;

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
    /// Whether the instances were told of it; otherwise they find it at their next poll.
    pub is_announced: bool,
}

/// The use case.
pub struct CancelPurchase {
    codes: Arc<Codes>,
    canceller: Arc<dyn PurchaseCanceller>,
    news: Arc<dyn SaleNews>,
    /// Pages that instances share, if reads are cached.
    pages: Option<Arc<dyn SharedPages>>,
}

impl CancelPurchase {
    /// Cancels through these ports.
    #[must_use]
    pub fn new(
        codes: Arc<Codes>,
        canceller: Arc<dyn PurchaseCanceller>,
        news: Arc<dyn SaleNews>,
        pages: Option<Arc<dyn SharedPages>>,
    ) -> Self {
        Self { codes, canceller, news, pages }
    }

    /// Takes the lines back, and records `actor` with it. Durable before it returns. A repeat changes nothing, and is refused.
    pub async fn execute(
        &self,
        command: &CancelCommand,
        actor: &str,
    ) -> Result<Cancelled, CancelPurchaseError> {
        let CancelCommand { code, wanted } = command;
        if !self.codes.is_genuine(code).await? {
            return Err(CancelPurchaseError::UnknownCode);
        }
        let cancellation = self.canceller.cancel(*code, wanted, actor).await??;
        // After the commit. The adapters report failures; here they cost time alone: a poll, and the life of a page.
        if let Some(pages) = &self.pages {
            let buyer = CacheScope::Buyer(cancellation.buyer.clone());
            let _ = pages.forget(&[buyer, CacheScope::Sale(code.sale)]).await;
        }
        let is_announced = self.news.changed(code.sale).await.is_ok();
        Ok(Cancelled { cancellation, is_announced })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::{CodeSigner, MockPurchaseCanceller, MockSaleNews};
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

    fn use_case(canceller: MockPurchaseCanceller, news: MockSaleNews) -> CancelPurchase {
        CancelPurchase::new(codes_of(Arc::new(SIGNER)), Arc::new(canceller), Arc::new(news), None)
    }

    #[tokio::test]
    async fn a_forged_code_reaches_no_store() {
        let cancel = use_case(MockPurchaseCanceller::new(), MockSaleNews::new());

        let refused = cancel.execute(&command(2), "ann").await;

        assert!(matches!(refused, Err(CancelPurchaseError::UnknownCode)));
    }

    #[tokio::test]
    async fn a_cancellation_stands_though_nobody_can_be_told() {
        let (mut canceller, mut news) = (MockPurchaseCanceller::new(), MockSaleNews::new());
        canceller.expect_cancel().once().returning(|_, _, _| Ok(Ok(cancellation())));
        news.expect_changed().once().returning(|_| Err(unavailable()));

        let done = use_case(canceller, news).execute(&command(1), "ann").await.unwrap();

        assert_eq!(done, Cancelled { cancellation: cancellation(), is_announced: false });
    }

    #[tokio::test]
    async fn nothing_is_announced_that_did_not_happen() {
        let mut canceller = MockPurchaseCanceller::new();
        let refusal = || CancelRefusal::AlreadyCancelled(at(9));
        canceller.expect_cancel().returning(move |_, _, _| Ok(Err(refusal())));

        let refused = use_case(canceller, MockSaleNews::new()).execute(&command(1), "ann").await;

        let Err(CancelPurchaseError::Refused(reason)) = refused else { panic!("{refused:?}") };
        assert_eq!(reason, refusal());
    }
}
