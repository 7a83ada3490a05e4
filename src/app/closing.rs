//! What becomes of ended sales: their close, and their end in the archive.

use std::sync::Arc;
use std::time::Duration;

use super::pause::TokioPause;
use crate::application::drop_sales::{DropSales, Keep};
use crate::application::sale_report::CloseSale;
use crate::config::Config;
use crate::infrastructure::persistence::{Database, PostgresRetention, PostgresSaleReports};

/// Time that instances have to write their refusals, beyond two intervals.
const REFUSALS_MARGIN: Duration = Duration::from_secs(2);

/// Closes ended sales, once the instances have had the time to write their refusals.
pub(crate) fn close_sale(config: &Config, database: &Database) -> CloseSale {
    let record_delay = config.refusals.flush_interval * 2 + REFUSALS_MARGIN;
    CloseSale::new(Arc::new(PostgresSaleReports::new(database.clone())), record_delay)
}

/// Archives old sales, for the job and for the command.
pub(crate) fn drop_sales(keep: Keep, database: &Database) -> DropSales {
    let retention = Arc::new(PostgresRetention::new(database.clone()));
    DropSales::new(retention, Arc::new(TokioPause), keep)
}
