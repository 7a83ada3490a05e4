//! Webhooks: every event is sent to the endpoints that operators have added, at least once, in order within a buyer.
//!
//! - [`add`], [`rotate`], [`try_out`], [`replay`]: what operators do.
//! - [`deliveries`]: which endpoints this process delivers to. `runner`: delivers to one of them; `delivery` decides
//!   what to do next, without I/O.
//! - `window`: the events of the log that are read and not settled. `held`: which buyers' events wait for a retry.
//!   `policy`: what an answer means, and how long to wait.

pub mod add;
pub mod deliveries;
pub(crate) mod delivery;
pub(crate) mod held;
pub(crate) mod policy;
pub mod replay;
pub mod rotate;
pub(crate) mod runner;
mod tests;
pub mod try_out;
pub(crate) mod window;

pub use delivery::DeliveryLimits;
pub use runner::DeliveryPorts;
