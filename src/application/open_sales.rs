//! Open sales: write the schedule's sales ahead of time, so that each opens at its second.
//!
//! A sale whose time is now and that does not exist is created by any instance that notices; the next one is written
//! ahead by the leader, and by everybody when its start is near. Two who write the same one make one sale: no start of
//! the schedule exists twice (`sales_one_per_start`).

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::board::Board;
use super::ports::{Calendar, Leadership, PortError, SaleBook};
use crate::domain::sale::{InvalidSale, NewSale, Sale, SaleWindow};

/// How long before its start everybody writes a missing sale, not only the leader.
const EVERYBODY_BEFORE: Duration = Duration::from_mins(1);
/// Most starts whose windows may overlap.
const MAX_OVERLAP: usize = 24;

/// What each scheduled sale looks like.
#[derive(Debug, Clone)]
pub struct Template {
    /// How long it is open.
    pub duration: Duration,
    /// Its items.
    pub items: i32,
    /// Pieces of each.
    pub stock: i32,
    /// Most pieces a buyer gets.
    pub buyer_limit: i32,
}

/// Why the schedule could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum OpenSalesError {
    /// The template is out of bounds.
    #[error(transparent)]
    Invalid(#[from] InvalidSale),
    /// A port failed.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// Keeps the schedule.
pub struct OpenSales {
    board: Arc<Board>,
    sales: Arc<dyn SaleBook>,
    calendar: Arc<dyn Calendar>,
    leadership: Arc<dyn Leadership>,
    template: Template,
}

impl OpenSales {
    /// Writes sales made after `template` into the book.
    #[must_use]
    pub fn new(
        board: Arc<Board>,
        sales: Arc<dyn SaleBook>,
        calendar: Arc<dyn Calendar>,
        leadership: Arc<dyn Leadership>,
        template: Template,
    ) -> Self {
        Self { board, sales, calendar, leadership, template }
    }

    /// Creates what is due; `actor` goes on record. Answers the sales that this call created.
    pub async fn execute(&self, actor: &str, term: Duration) -> Result<Vec<Sale>, OpenSalesError> {
        let existing = self.sales.live().await?;
        let Some(reading) = self.board.clock().database() else {
            return Ok(Vec::new());
        };
        let is_missing = |start: &DateTime<Utc>| {
            !existing.iter().any(|sale| sale.scheduled && sale.window.starts_at() == *start)
        };
        let mut due = self.open_at(reading.at);
        if let Some(next) = self.calendar.next_start(reading.at).filter(is_missing) {
            let is_near = (next - reading.at).to_std().is_ok_and(|ahead| ahead < EVERYBODY_BEFORE);
            // Without Redis there is no leader: then everybody writes, which is only more work.
            if is_near || self.leadership.lead("schedule", term).await.unwrap_or(true) {
                due.push(next);
            }
        }
        let mut created = Vec::new();
        for start in due.into_iter().filter(is_missing) {
            let Some(sale) = self.sale(start) else {
                continue;
            };
            created.extend(self.sales.create(&sale.validated()?, actor).await?);
        }
        if !created.is_empty() {
            self.board.refresh().await?;
        }
        Ok(created)
    }

    /// Starts whose sales are open at `now`, the earliest first.
    fn open_at(&self, now: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        let mut starts = Vec::new();
        let mut moment = now;
        while let Some(start) = self.calendar.last_start(moment) {
            let is_open = SaleWindow::lasting(start, self.template.duration)
                .is_some_and(|window| now < window.ends_at());
            if !is_open || starts.len() == MAX_OVERLAP {
                break;
            }
            starts.push(start);
            let Some(before) = start.checked_sub_signed(chrono::Duration::microseconds(1)) else {
                break;
            };
            moment = before;
        }
        starts.reverse();
        starts
    }

    fn sale(&self, start: DateTime<Utc>) -> Option<NewSale> {
        Some(NewSale {
            name: format!("Flash sale of {}", start.format("%Y-%m-%d %H:%M:%S UTC")),
            scheduled: true,
            window: SaleWindow::lasting(start, self.template.duration)?,
            buyer_limit: self.template.buyer_limit,
            items: self.template.items,
            stock: self.template.stock,
        })
    }
}
