//! Rebuild the filter: make the shared filter of sold-out items anew from what PostgreSQL holds.
//!
//! A filter only ever grows, so a restocked item would stay in it; and after Redis lost everything there is none. One
//! instance rebuilds it for all. The rebuild is announced before the facts are read: an item that sells out after the
//! reading is added to the new filter by whoever sold it.

use std::sync::Arc;
use std::time::Duration;

use super::board::Board;
use super::ports::{FilterBuilder, ItemReader, Leadership, PortError};

/// Rebuilds the filters of all open sales.
pub struct RebuildFilter {
    board: Arc<Board>,
    items: Arc<dyn ItemReader>,
    filter: Arc<dyn FilterBuilder>,
    leadership: Arc<dyn Leadership>,
    interval: Duration,
}

impl RebuildFilter {
    /// Rebuilds every `interval`, whoever leads.
    #[must_use]
    pub fn new(
        board: Arc<Board>,
        items: Arc<dyn ItemReader>,
        filter: Arc<dyn FilterBuilder>,
        leadership: Arc<dyn Leadership>,
        interval: Duration,
    ) -> Self {
        Self { board, items, filter, leadership, interval }
    }

    /// Rebuilds once, unless another instance leads. What it read teaches this instance's board as well.
    pub async fn execute(&self) -> Result<(), PortError> {
        // A term of two intervals: the leader renews it in time, and a dead one is followed soon.
        if !self.leadership.lead("filter", self.interval * 2).await? {
            return Ok(());
        }
        for known in self.board.open() {
            let totals = self.filter.begin(&known.sale).await?;
            let stock = self.items.stock(known.sale.id).await?;
            self.board.learn(known.sale.id, &stock.facts);
            self.filter.publish(&known.sale, &stock, totals).await?;
        }
        Ok(())
    }
}
