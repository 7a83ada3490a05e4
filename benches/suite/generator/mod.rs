//! The load generator: plain HTTP/1.1 over kept connections, cheap enough not to be the bottleneck.
//!
//! One thread drives all of its connections with epoll. Requests are written into reused buffers and responses are parsed where
//! they were received, so no request allocates. The generator's own CPU time is part of every [`Load`], which shows whether the
//! generator or the service was the limit.
//!
//! - [`closed`]: every connection sends its next request as soon as the last one is answered.
//! - [`open`]: requests arrive by a clock, whether the service keeps up or not; latency counts from that clock.
//! - [`traffic`]: the requests, and what a response means. [`plan`]: the plan of a run. [`load`], [`tally`]: its result.
//! - [`driver`], [`connection`], [`answer`], [`error`]: the parts of both loops. [`dice`]: chance that is the same in every run.

pub(crate) mod answer;
pub(crate) mod closed;
pub(crate) mod connection;
#[expect(dead_code, reason = "the black-box tests use the rest")]
#[path = "../../../tests/support/dice.rs"]
pub(crate) mod dice;
pub(crate) mod driver;
pub(crate) mod error;
pub(crate) mod load;
pub(crate) mod open;
pub(crate) mod plan;
pub(crate) mod tally;
pub(crate) mod traffic;

pub(crate) use answer::Answer;
pub(crate) use error::GeneratorError;
pub(crate) use load::Load;
pub(crate) use plan::{Plan, Window};
pub(crate) use tally::{Latency, Tally};
pub(crate) use traffic::{Class, Kind, Traffic};
