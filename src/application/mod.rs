//! The use cases, one per file or folder. This layer imports the rules (`domain`) and the interfaces of adapters
//! ([`ports`]), and knows neither HTTP nor SQL nor Redis.
//!
//! - [`checkout`]: change the buyer's open checkout and return its code.
//! - [`purchase`]: turn a code into sold items, once.
//! - [`idempotency`]: both with idempotency keys, and changes of a checkout by its code.
//! - [`browse`]: read sales, items and purchases.
//! - [`create_sale`]: create a sale for an operator. [`open_sales`]: create the scheduled sales.
//! - [`live`]: the state of sales for clients that follow them.
//! - [`drop_sales`]: archive sales that are old enough, and drop what they leave.
//! - [`operators`]: what operators change, and why buyers were refused.
//! - [`api_keys`]: issue and verify the keys of operators and services.
//! - [`bulk`]: the same work on many entries.
//! - [`compare_time_zones`]: whether PostgreSQL has the same rules as the schedule.
//! - [`jobs`]: jobs and the schedules that enqueue them.
//! - [`sale_cache`]: what the instance knows of sales, in memory. [`catalogue`]: the items of a sale, in memory,
//!   with their `texts` as bytes.
//! - [`cells`]: one of each cell, picked by the number of a sale.
//! - [`history`]: the epoch of the database in which this instance works. [`codes`]: signed and verified for their epoch.
//! - [`rebuild_filter`]: rebuild the shared filter of sold-out items from PostgreSQL.
//! - [`sold_out_hints`]: confirm what other instances announce.
//! - [`turns`]: let one of several equal requests run, and the others wait for what it stores.
//! - [`events`]: send purchases to other systems, at least once and in order.
//! - [`refusals`]: record refused attempts. [`refusal_facts`]: what a client needs to know of one.
//! - `single_flight`: one query at a time, whose result concurrent callers share.
//! - [`sale_report`]: report on a sale, and close it after its end.
//! - [`verify`]: audit the promises.
//! - [`webhooks`]: send events to the endpoints of other systems.

pub mod api_keys;
pub mod browse;
pub mod bulk;
pub mod catalogue;
pub mod cells;
pub mod checkout;
pub mod codes;
pub mod compare_time_zones;
pub mod create_sale;
pub mod drop_sales;
pub mod events;
pub mod history;
pub mod idempotency;
pub mod jobs;
pub mod live;
pub mod open_sales;
pub mod operators;
pub mod ports;
pub mod purchase;
pub mod rebuild_filter;
pub mod refusal_facts;
pub mod refusals;
pub mod sale_cache;
pub mod sale_report;
pub(crate) mod single_flight;
pub mod sold_out_hints;
mod texts;
pub mod turns;
pub mod verify;
pub mod webhooks;
