//! What handlers work with: the use cases, and the request timeout.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::access::caller::Caller;
use super::cached::HttpCache;
use super::detach_on_drop::DetachOnDrop;
use super::error::ApiError;
use crate::application::browse::Browse;
use crate::application::cells::Cells;
use crate::application::checkout::Checkout;
use crate::application::idempotency::Idempotency;
use crate::application::live::Live;
use crate::application::ports::{CursorSigner, PortError};
use crate::application::purchase::Purchase;
use crate::config::Setting;
use crate::domain::code::CodeClaim;
use crate::domain::ids::SaleId;
use crate::infrastructure::traces::span;

/// The state of the router.
#[derive(Clone)]
pub(crate) struct HttpState {
    pub(crate) cells: Arc<Cells<UseCases>>,
    pub(crate) cursors: Arc<dyn CursorSigner>,
    /// Tracks work with effects, so that the shutdown can wait for it.
    pub(crate) tasks: TaskTracker,
    pub(crate) request_timeout: Setting<Duration>,
}

/// The use cases of one cell.
pub(crate) struct UseCases {
    pub(crate) checkout: Arc<Checkout>,
    pub(crate) purchase: Arc<Purchase>,
    pub(crate) browse: Arc<Browse>,
    pub(crate) live: Arc<Live>,
    pub(crate) idempotency: Arc<Idempotency>,
    /// The read cache, if it is on.
    pub(crate) cache: Option<Arc<HttpCache>>,
}

impl HttpState {
    /// The use cases of the cell that has this sale.
    pub(crate) fn of(&self, sale: impl Into<Option<SaleId>>) -> &UseCases {
        self.cells.of(sale)
    }

    /// The use cases for what names no sale.
    pub(crate) fn home(&self) -> &UseCases {
        self.cells.home()
    }

    /// Runs work with effects to its end, in a span of this name, also when the client hangs up. The client waits for it up to the
    /// request timeout.
    pub(crate) fn run_to_end<T, W>(
        &self,
        name: &'static str,
        work: W,
    ) -> impl Future<Output = Result<T, ApiError>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, PortError>> + Send + 'static,
    {
        // Boxed at once: it is not moved again, and no future of a handler has room for it.
        let work = DetachOnDrop::new(span(name, Box::pin(work)), &self.tasks);
        let timeout = self.request_timeout.get();
        async move {
            match tokio::time::timeout(timeout, work).await {
                Ok(Ok(result)) => Ok(result?),
                Ok(Err(panic)) => Err(ApiError::Internal(Arc::new(panic))),
                Err(_) => Err(ApiError::TimedOut),
            }
        }
    }

    /// Refuses the code of another buyer's checkout.
    pub(crate) async fn check_owner(
        &self,
        caller: &Caller,
        claim: CodeClaim,
    ) -> Result<(), ApiError> {
        if caller.buyer().is_none() {
            return Ok(());
        }
        match self.read(self.of(claim.sale).idempotency.find(claim)).await? {
            Some(checkout) => caller.check_owner(&checkout.buyer),
            None => Ok(()),
        }
    }

    /// Reads within the request timeout. The read is cancelled when the client hangs up.
    pub(crate) async fn read<T>(
        &self,
        read: impl Future<Output = Result<T, PortError>>,
    ) -> Result<T, ApiError> {
        match tokio::time::timeout(self.request_timeout.get(), span("browse", read)).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(ApiError::TimedOut),
        }
    }

    /// The error of a sale that is not found.
    pub(crate) async fn no_sale(&self, sale: SaleId) -> ApiError {
        archived_or(ApiError::SaleNotFound, self.read(self.of(sale).browse.is_archived(sale)).await)
    }

    /// The error of a code that leads to nothing: `error`, unless its sale was archived.
    pub(crate) async fn no_code(&self, claim: CodeClaim, error: ApiError) -> ApiError {
        archived_or(error, self.read(self.of(claim.sale).browse.is_archived_code(claim)).await)
    }
}

fn archived_or(error: ApiError, is_archived: Result<bool, ApiError>) -> ApiError {
    match is_archived {
        Ok(false) => error,
        Ok(true) => ApiError::SaleArchived,
        Err(failure) => failure,
    }
}
