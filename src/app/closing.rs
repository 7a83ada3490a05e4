//! The close of ended sales, for the job that runs it.

use std::sync::Arc;
use std::time::Duration;

use crate::application::sale_report::CloseSale;
use crate::config::Config;
use crate::infrastructure::persistence::{Database, PostgresSaleReports};

/// Time that instances have to write their refusals, beyond two intervals.
const REFUSALS_MARGIN: Duration = Duration::from_secs(2);

/// Closes ended sales, once the instances have had the time to write their refusals.
pub(crate) fn close_sale(config: &Config, database: &Database) -> CloseSale {
    let record_delay = config.refusals.flush_interval * 2 + REFUSALS_MARGIN;
    CloseSale::new(Arc::new(PostgresSaleReports::new(database.clone())), record_delay)
}
