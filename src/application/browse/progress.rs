//! Progress of sales: concurrent requests share one query, so that polling front ends do not slow a sale down.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::application::ports::{Clock, ItemReader, PortError};
use crate::domain::ids::SaleId;
use crate::domain::sale::Progress;

/// Maximum number of sales with a stored progress; beyond it all are dropped.
const MAX_SALES: usize = 1_000;

/// The last progress of a sale, and the monotonic time at which its query began.
type LastProgress = Arc<tokio::sync::Mutex<Option<(Duration, Progress)>>>;

/// The last progress of each sale.
#[derive(Default)]
pub(super) struct SharedProgress {
    sales: Mutex<HashMap<SaleId, LastProgress>>,
}

impl SharedProgress {
    /// Adds up the stock of the whole sale. The result contains everything that was sold before the call.
    pub(super) async fn read(
        &self,
        sale: SaleId,
        items: &dyn ItemReader,
        clock: &dyn Clock,
    ) -> Result<Progress, PortError> {
        let arrived_at = clock.monotonic();
        let last = self.last(sale);
        let mut last = last.lock().await;
        if let Some((_, progress)) = last.filter(|(began_at, _)| *began_at > arrived_at) {
            return Ok(progress);
        }
        let began_at = clock.monotonic();
        let progress = items.progress(sale).await?;
        *last = Some((began_at, progress));
        Ok(progress)
    }

    fn last(&self, sale: SaleId) -> LastProgress {
        let mut sales = self.sales.lock().unwrap_or_else(PoisonError::into_inner);
        if sales.len() >= MAX_SALES {
            sales.clear();
        }
        Arc::clone(sales.entry(sale).or_default())
    }
}
