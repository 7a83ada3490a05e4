//! The port for operators. Nothing below `/admin` is answered without an API key.
//!
//! - [`state`]: the use cases and ports. [`metrics`]: what operators did.
//! - [`gate`]: who may do what. [`call`]: a request that has passed it. [`perform`]: changes, which happen once for each
//!   idempotency key. [`stream`]: the body of an import, row by row.
//! - [`routes`]: the endpoints by theme. [`document`]: their OpenAPI document. [`page`]: the page for people. [`router`]: all of it together.

pub(crate) mod call;
pub(crate) mod document;
pub(crate) mod gate;
pub(crate) mod metrics;
pub(crate) mod page;
pub(crate) mod perform;
pub(crate) mod router;
pub(crate) mod routes;
pub(crate) mod state;
pub(crate) mod stream;
