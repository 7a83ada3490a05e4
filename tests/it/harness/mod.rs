//! What the tests are built on.
//!
//! - [`world`]: instances of the service on a database and a key prefix of their own. Nearly every test starts with one.
//! - [`Program`], [`commands`], [`process`], [`instance`]: the binary with its environment, its commands, a child process that
//!   runs it, one that serves.
//! - [`servers`], [`database`], [`redis_server`]: PostgreSQL and Redis, shared by the tests or private to one that breaks them.
//!   [`standby`]: a standby of such a PostgreSQL. [`sales`]: many sales at once.
//! - [`worker`]: processes that only run jobs, and commands about jobs.
//! - [`client`], [`wire`]: well-behaved HTTP, and bytes on a socket for everything else.
//! - [`storm`]: buyers who repeat every request until it is answered. [`trouble`]: commands that make servers fail.
//! - [`endpoint`]: an endpoint of webhooks. [`collector`]: a collector of spans. [`redis_nodes`]: clusters and Sentinels. [`events`]: a client of server-sent events. [`browser`]: Chromium.
//! - [`admin`]: the port for operators.
//! - [`locks`], [`metrics`], [`eventually`]: small tools.

pub(crate) mod admin;
pub(crate) mod browser;
pub(crate) mod client;
pub(crate) mod collector;
pub(crate) mod commands;
pub(crate) mod database;
pub(crate) mod endpoint;
pub(crate) mod events;
pub(crate) mod eventually;
pub(crate) mod instance;
pub(crate) mod locks;
pub(crate) mod metrics;
pub(crate) mod nats_proxy;
pub(crate) mod process;
pub(crate) mod redis_nodes;
pub(crate) mod redis_server;
pub(crate) mod sales;
pub(crate) mod servers;
pub(crate) mod standby;
pub(crate) mod storm;
pub(crate) mod trouble;
pub(crate) mod wire;
pub(crate) mod worker;
pub(crate) mod world;
pub(crate) mod wrong_clock;

pub(crate) use admin::Operator;
pub(crate) use client::{Answer, Client};
pub(crate) use eventually::{PATIENCE, at_once, eventually, until};
pub(crate) use storm::Storm;
pub(crate) use wire::Wire;
pub(crate) use world::World;
pub(crate) use wrong_clock::wrong_clock;

pub(crate) use crate::dice::Dice;
pub(crate) use crate::program::Program;
