//! Stateful doubles of the ports: a Mutex round the obvious structure, no failure switches. Failures are for mocks; whether
//! the fakes tell the truth is for [`super::contracts`].

mod calendar;
mod clock;
mod code_lock;
mod health_check;
mod key_gate;
mod leadership;
mod meter;
mod news;
mod pause;
mod refusal_store;
mod shared_memory;
mod shop;
mod signer;
mod slow_sale_book;

pub(crate) use calendar::FakeCalendar;
pub(crate) use clock::FakeClock;
pub(crate) use code_lock::FakeCodeLocks;
pub(crate) use health_check::FakeHealthCheck;
pub(crate) use key_gate::FakeGates;
pub(crate) use leadership::FakeTerms;
pub(crate) use meter::{FakeMeter, Metered};
pub(crate) use news::FakeNews;
pub(crate) use pause::FakePause;
pub(crate) use refusal_store::FakeRefusals;
pub(crate) use shared_memory::FakeSharedMemory;
pub(crate) use shop::FakeShop;
pub(crate) use signer::FakeSigner;
pub(crate) use slow_sale_book::SlowSaleBook;
