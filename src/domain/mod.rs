//! The rules of a flash sale as pure functions: no I/O, no clock, no async.
//!
//! - [`ids`]: ids of sales, items, buyers and attempts, parsed once at the boundary.
//! - [`alphabet`]: the alphabet of numbers in public ids.
//! - [`code`]: the text of a checkout code. [`api_key`]: keys of operators and services, and their scopes.
//! - [`epoch`]: the spans of time in which the database had one history. [`cell`]: databases with a part of the sales each.
//! - [`sale`]: a sale, its window and the bounds of a new one. [`sale_edit`]: what an operator may change of it, and when.
//! - [`restock`]: pieces that an operator adds to an item. [`cancellation`]: lines of a purchase that an operator takes back.
//!   [`import`]: items of an operator's own.
//! - [`sale_report`]: the figures of a sale, and the intervals that they are counted by.
//! - [`checkout`]: the lines that a buyer has collected, and the limit check for more.
//! - [`settlement`]: the decision over a batch of purchases.
//! - [`job`]: work outside of requests: states, priorities, keys, and the delay between attempts.
//! - [`rate_limit`]: how often something may be done.
//! - [`purchase`]: the outcome of a purchase, as it is stored and replayed.
//! - [`terms`]: what a client wants to hold when it changes or buys a checkout.
//! - [`time_text`]: moments as people write them. [`number_text`]: numbers and spans as people read them.
//! - [`bloom`]: the arithmetic of the sold-out filter.

pub mod alphabet;
pub mod api_key;
pub mod bloom;
pub mod cancellation;
pub mod cell;
pub mod checkout;
pub mod code;
pub mod epoch;
pub mod ids;
pub mod import;
pub mod job;
pub mod number_text;
pub mod purchase;
pub mod rate_limit;
pub mod restock;
pub mod sale;
pub mod sale_edit;
pub mod sale_report;
pub mod settlement;
pub mod terms;
pub mod time_text;
