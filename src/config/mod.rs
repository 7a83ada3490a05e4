//! Configuration: loaded once, typed, validated as a whole, secrets redacted.
//!
//! `config/default.yaml` documents every key; `sections` has one file per section. [`Config::load`] reports all faults
//! at once and never a value, which may be a secret. [`InForce`] is the configuration in force: it may be replaced while the service runs.

mod in_force;
mod layers;
mod loaded;
mod origin;
mod reader;
mod sections;
mod tests;
mod time_zones;
mod units;

pub use in_force::{InForce, LIVE_KEYS, Setting};
pub use loaded::{Config, InvalidConfig};
pub use sections::*;
pub use time_zones::TimeZoneRules;
