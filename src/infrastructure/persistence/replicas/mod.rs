//! Read replicas: standbys that answer lists and reports, so that the primary has its time for buyers.
//!
//! Nothing that is decided is read from one. A replica is read from only while it is known to be a standby of the primary that this
//! instance writes to, and only while it lags by less than the limit; else, and when it fails, the primary answers.
//!
//! - [`positions`]: how far the primary's write-ahead log was when, which shows by how much a replica lags. [`primary`] asks for it.
//! - [`state`]: whether a replica may be read from, and why not. [`replica`]: one replica with its pool; [`examination`] finds out, and
//!   [`replayed`] is how far it is.
//! - [`set`]: all of them: which one answers, and what the primary answers instead. [`reads`]: the ports of lists and reports on top.
//! - [`metrics`], [`health`]: what operators see.

pub(crate) mod examination;
pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod positions;
pub(crate) mod primary;
pub(crate) mod reads;
pub(crate) mod replayed;
pub(crate) mod replica;
pub(crate) mod set;
pub(crate) mod state;
