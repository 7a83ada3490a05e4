//! What is on record of buyers and of attempts, for operators.
//!
//! - [`reader`]: the adapter. [`story`]: the entries of a buyer's story. [`refusals`]: refusals with details.

pub(crate) mod reader;
mod refusals;
mod story;
