//! Stateful doubles of the ports: a Mutex around the obvious structure, no failure switches. Mocks play failures; the
//! contract suites prove that fakes behave like the real adapters.

mod business_metrics;
mod calendar;
mod clock;
mod code_lock;
mod delivery_metrics;
mod endpoints;
mod event_log;
mod health_check;
mod hint_cache;
mod idempotency_lock;
mod leadership;
mod pause;
mod refusal_store;
mod shop;
mod signer;
mod slow_sale_store;
mod sold_out_events;
mod tokio_clock;
mod webhooks;

pub(crate) use business_metrics::{Counted, FakeBusinessMetrics};
pub(crate) use calendar::FakeCalendar;
pub(crate) use clock::FakeClock;
pub(crate) use code_lock::FakeCodeLocks;
pub(crate) use delivery_metrics::FakeDeliveryMetrics;
pub(crate) use endpoints::{FakeEndpoints, FakeSecrets, answer};
pub(crate) use event_log::FakeEventLog;
pub(crate) use health_check::FakeHealthCheck;
pub(crate) use hint_cache::FakeHintCache;
pub(crate) use idempotency_lock::FakeIdempotencyLocks;
pub(crate) use leadership::FakeLeaderships;
pub(crate) use pause::FakePause;
pub(crate) use refusal_store::FakeRefusals;
pub(crate) use shop::FakeShop;
pub(crate) use signer::FakeSigner;
pub(crate) use slow_sale_store::SlowSaleStore;
pub(crate) use sold_out_events::FakeSoldOutEvents;
pub(crate) use tokio_clock::TokioClock;
pub(crate) use webhooks::FakeWebhooks;
