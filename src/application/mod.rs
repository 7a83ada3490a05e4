//! What the service does, one use case a file. This layer knows the rules (`domain`) and what it needs of the world
//! ([`ports`]), and nothing of HTTP, SQL or Redis.
//!
//! - [`checkout`]: collect an item, answer a code.
//! - [`purchase`]: turn a code into sold items, once.
//! - [`once`]: both of them with idempotency keys, and changes of a checkout by its code.
//! - [`browse`]: read sales, items, purchases.
//! - [`create_sale`]: an operator adds a sale. [`open_sales`]: the schedule does.
//! - [`board`]: what this instance knows about sales, in memory. [`catalogue`]: their items.
//! - [`rebuild_filter`]: make the shared filter of sold-out items anew from facts.
//! - [`refusals`]: put refused attempts on record.
//! - [`verify`]: look for broken promises.

pub mod board;
pub mod browse;
pub mod catalogue;
pub mod checkout;
pub mod create_sale;
pub mod once;
pub mod open_sales;
pub mod ports;
pub mod purchase;
pub mod rebuild_filter;
pub mod refusals;
pub mod verify;
