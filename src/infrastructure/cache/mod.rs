//! Redis: disposable state that all instances share. It makes the service faster; correctness does not depend on it.
//!
//! - [`connection`]: calls, behind a circuit. [`link`]: the connections that they use, to one server, to the master of Sentinels,
//!   or to a cluster. [`keys`]: every key, with type, meaning and expiry.
//!   [`script`]: how a file in `lua/` is called. [`rights`]: what the user may do there. [`reason`]: why Redis fails.
//! - [`hint_cache`]: answers prechecks from the buyers' totals and the filter of sold-out items. [`filter_builder`]
//!   rebuilds the filter, [`hint_reader`] reads the totals for `verify`.
//! - [`code_lock`], [`idempotency_lock`], on [`lock`]. [`leadership`]: one instance for a background task.
//! - [`sold_out_events`], [`sale_notifications`]: pub/sub between instances. [`event_stream`]: events for others.
//! - [`rate_limits`]: counts requests. [`nonces`]: those of signed requests.
//! - [`read_pages`]: pages of the read cache; [`invalidations`]: messages between instances about what to forget;
//!   [`read_sweep`]: what operators delete.
//! - [`writer`]: writes after a commit, in the background; [`buyer_totals`], [`stock`] and [`sold_out_message`] are what
//!   it writes.

mod buyer_totals;
mod code_lock;
mod connection;
mod event_stream;
mod filter_builder;
mod health;
mod hint_cache;
mod hint_reader;
mod idempotency_lock;
mod invalidations;
mod keys;
mod leadership;
mod link;
mod lock;
mod metrics;
mod nonces;
mod rate_limits;
mod read_pages;
mod read_sweep;
mod reason;
mod rights;
mod sale_notifications;
mod script;
mod sold_out_events;
mod sold_out_message;
mod stock;
mod writer;

pub(crate) use code_lock::RedisCodeLock;
pub(crate) use connection::Redis;
pub(crate) use event_stream::RedisEventStream;
pub(crate) use filter_builder::RedisFilterBuilder;
pub(crate) use health::RedisHealth;
pub(crate) use hint_cache::RedisHintCache;
pub(crate) use hint_reader::RedisHintReader;
pub(crate) use idempotency_lock::RedisIdempotencyLock;
pub(crate) use invalidations::{Forgotten, InvalidationListener};
pub(crate) use leadership::RedisLeadership;
pub(crate) use link::InvalidRedis;
pub(crate) use metrics::RedisMetrics;
pub(crate) use nonces::RedisNonces;
pub(crate) use rate_limits::RedisRateLimiter;
pub(crate) use read_pages::RedisReadPages;
pub(crate) use read_sweep::RedisReadSweep;
pub(crate) use sale_notifications::RedisSaleNotifications;
pub(crate) use sold_out_events::{RedisSoldOutEvents, SoldOutListener};
pub(crate) use writer::CacheWriter;
