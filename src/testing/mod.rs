//! Test doubles and fixtures. Fakes keep state; contract suites hold fakes and real adapters to the same guarantees.
//!
//! - [`builders`]: values. [`fakes`]: stateful doubles of the ports.
//! - [`test_shop`]: the use cases on fakes.
//! - [`contracts`]: one suite for each port, written from its MUSTs. [`servers`]: PostgreSQL and Redis to run them on.
//! - [`tokens`]: an issuer of tokens, which the black-box tests use too.
//! - [`sabotage`]: data that breaks each promise, for the tests of `verify`.

#![expect(
    clippy::clone_on_ref_ptr,
    reason = "an Arc of a fake becomes an Arc of its port, for which `Arc::clone` needs the fake's type"
)]

pub(crate) mod builders;
pub(crate) mod contracts;
pub(crate) mod fakes;
pub(crate) mod sabotage;
pub(crate) mod servers;
pub(crate) mod test_shop;
#[path = "../../tests/support/tokens.rs"]
pub(crate) mod tokens;
