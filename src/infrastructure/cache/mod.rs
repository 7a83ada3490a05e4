//! Redis: shared, disposable memory. What is here makes the service faster, never right.
//!
//! - [`keys`]: the whole schema; no key is made elsewhere. [`scripts`]: the Lua, one file one operation.
//! - [`connection`]: connections, behind a circuit that keeps callers away while Redis is gone.
//! - [`shared_memory`]: limits and the sold-out filter at the checkout's door; [`standing`]: how a buyer is kept. [`filter_builder`]: its rebuild.
//! - [`courier`]: what is told to Redis after a commit, in the background.
//! - [`code_lock`], [`key_gate`], [`leadership`], [`news`]: one adapter each. [`inspector`]: what `verify` reads.

mod code_lock;
mod connection;
mod courier;
mod filter_builder;
mod health;
mod inspector;
mod key_gate;
mod keys;
mod leadership;
mod metrics;
mod news;
mod scripts;
mod shared_memory;
mod standing;

pub(crate) use code_lock::{LockTimes, RedisCodeLock};
pub(crate) use connection::{InvalidRedis, Redis};
pub(crate) use courier::Courier;
pub(crate) use filter_builder::RedisFilterBuilder;
pub(crate) use health::RedisHealth;
pub(crate) use inspector::RedisMemoryReader;
pub(crate) use key_gate::RedisKeyGate;
pub(crate) use leadership::RedisLeadership;
pub(crate) use metrics::RedisMetrics;
pub(crate) use news::{NewsListener, RedisNews};
pub(crate) use shared_memory::RedisSharedMemory;
