//! Purchases: outcomes of attempts, decided once.
//!
//! - [`ledger`]: the adapter. [`batch`]: a batch from its requests to its replies; [`replies`] makes the replies.
//! - A batch is read by [`statements`] into [`rows`], decided by [`settle`](crate::domain::settlement::settle), and written from columns
//!   again. [`sql`] has the SQL.
//! - [`outcomes`]: stored outcomes, which [`outcome_reader`] reads for many callers at once. [`history`]: a buyer's purchases.
//!   [`cancellations`]: what operators have taken back of them.

pub(crate) mod batch;
pub(crate) mod cancellations;
pub(crate) mod history;
pub(crate) mod ledger;
pub(crate) mod outcome_reader;
pub(crate) mod outcomes;
pub(crate) mod replies;
pub(crate) mod rows;
pub(crate) mod sql;
pub(crate) mod statements;
