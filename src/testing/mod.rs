//! Test doubles and what tests share. Fakes keep state; contract suites hold fakes and real adapters to the same promises.
//!
//! - [`builders`]: values. [`fakes`]: stateful doubles, a Mutex round the obvious structure.
//! - [`house`]: the use cases on fakes.
//! - [`contracts`]: one suite a port, written from its MUSTs. [`servers`]: the real PostgreSQL and Redis to run them on.
//! - [`sabotage`]: ways to break each promise by hand.

#![expect(
    clippy::clone_on_ref_ptr,
    reason = "an Arc of a fake becomes an Arc of its port: `Arc::clone` would look for the port's"
)]

pub(crate) mod builders;
pub(crate) mod contracts;
pub(crate) mod fakes;
pub(crate) mod house;
pub(crate) mod sabotage;
pub(crate) mod servers;
