//! The requests of buyers.
//!
//! - [`checkouts`]: checkouts of one item each, by a new buyer each time; also those that are refused.
//! - [`shoppers`]: checkouts, then the purchase of what was collected.
//! - [`forgers`]: purchases with codes that are not signed. [`redeemers`]: purchases of codes that were made before.
//! - [`readers`]: lists. [`requests`]: requests as bytes. [`tokens`]: those that buyers send with them.

pub(crate) mod checkouts;
pub(crate) mod forgers;
pub(crate) mod readers;
pub(crate) mod redeemers;
pub(crate) mod requests;
pub(crate) mod shoppers;
pub(crate) mod tokens;

pub(crate) use checkouts::Checkouts;
pub(crate) use forgers::Forgers;
pub(crate) use readers::Readers;
pub(crate) use redeemers::{Codes, Redeemers};
pub(crate) use requests::{Code, first_buyer};
pub(crate) use shoppers::{Shoppers, Wants};
pub(crate) use tokens::Tokens;
