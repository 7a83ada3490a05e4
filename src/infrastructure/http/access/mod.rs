//! Access: who sends a request, and how often. Nothing here runs if all of it is off.
//!
//! - [`gate`]: decides over a request before its handler runs. [`layer`]: the gate as a layer of the router.
//! - [`caller`]: who sends a request, for handlers. [`credentials`]: what headers say of it. [`signature`]: signed requests.
//! - [`address`]: the client's address, behind proxies. [`named`]: the buyer whom a request names.
//! - [`rate_headers`]: limits in responses. [`metrics`].

pub(crate) mod address;
pub(crate) mod caller;
mod credentials;
pub(crate) mod gate;
pub(crate) mod layer;
pub(crate) mod metrics;
mod named;
mod rate_headers;
mod signature;
mod tests;
