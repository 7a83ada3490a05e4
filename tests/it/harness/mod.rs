//! What the tests stand on.
//!
//! - [`world`]: instances of the service on a database and a key prefix of their own. Every test starts with one.
//! - [`program`], [`process`], [`instance`]: the binary with its environment, a child that runs it, one that serves.
//! - [`servers`], [`database`]: PostgreSQL and Redis, shared by the tests or private to one that breaks them.
//! - [`client`], [`wire`]: well-behaved HTTP, and bytes on a socket for all the rest.
//! - [`storm`]: buyers who never give up. [`trouble`], [`proxy`]: what makes servers and the ways to them fail.
//! - [`locks`], [`metrics`], [`dice`], [`eventually`]: small tools.

pub(crate) mod client;
pub(crate) mod database;
pub(crate) mod dice;
pub(crate) mod eventually;
pub(crate) mod instance;
pub(crate) mod locks;
pub(crate) mod metrics;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod servers;
pub(crate) mod storm;
pub(crate) mod trouble;
pub(crate) mod wire;
pub(crate) mod world;

pub(crate) use client::{Answer, Client};
pub(crate) use dice::Dice;
pub(crate) use eventually::{at_once, eventually, until};
pub(crate) use program::Program;
pub(crate) use storm::Storm;
pub(crate) use wire::Wire;
pub(crate) use world::World;
