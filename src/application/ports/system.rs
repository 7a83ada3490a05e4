//! Clocks, signatures, health checks, errors.

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::code::CodeClaim;
use crate::domain::ids::{AttemptId, SaleId};
use crate::domain::sale::ClockReading;

/// A call of a port failed. Expected results are never errors.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The server behind the port is unreachable or too slow. Repeating the call later is safe.
    #[error("{what} is unavailable")]
    Unavailable {
        /// The resource.
        what: &'static str,
        /// The cause.
        source: BoxError,
    },
    /// A bounded queue is full, or the request's deadline passed in the queue: the call had no effect.
    #[error("{0} is overloaded")]
    Overloaded(&'static str),
    /// An unexpected error.
    #[error("{what} failed")]
    Broken {
        /// The resource.
        what: &'static str,
        /// The cause.
        source: BoxError,
    },
}

/// The technology's own error, kept for the log.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The database's clock, as estimated by this process, and a monotonic clock.
#[cfg_attr(test, mockall::automock)]
pub trait Clock: Send + Sync {
    /// The database's clock; `None` before the first measurement.
    fn database(&self) -> Option<ClockReading>;

    /// Time since a fixed moment of this process.
    fn monotonic(&self) -> Duration;
}

/// The processor time of a thread since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessorTime {
    /// How long it ran.
    pub used: Duration,
    /// How long it could have run and waited for a processor.
    pub waited: Duration,
}

/// Reads processor times.
#[cfg_attr(test, mockall::automock)]
pub trait ProcessorTimes: Send + Sync {
    /// That of the calling thread; `None` if the system does not report it.
    fn of_this_thread(&self) -> Option<ProcessorTime>;
}

/// Batches of checkouts and purchases since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchTotals {
    /// Requests in all of them.
    pub requests: u64,
    /// How many there were.
    pub batches: u64,
}

/// Counts the batches in which this instance sells.
#[cfg_attr(test, mockall::automock)]
pub trait SellingBatches: Send + Sync {
    /// All of them.
    fn totals(&self) -> BatchTotals;
}

/// Signs and verifies codes.
#[cfg_attr(test, mockall::automock)]
pub trait CodeSigner: Send + Sync {
    /// A code that [`Self::is_genuine`] accepts while its key is configured.
    fn sign(&self, sale: SaleId, attempt: AttemptId) -> CodeClaim;

    /// Whether a configured key signed the code. MUST compare in constant time.
    fn is_genuine(&self, claim: &CodeClaim) -> bool;
}

/// Reads the epochs of the database.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait EpochReader: Send + Sync {
    /// Reads all epochs into the [`History`](crate::application::history::History) that the instance shares.
    async fn read(&self) -> Result<(), PortError>;
}

/// Bytes of a cursor's MAC.
pub const CURSOR_MAC_BYTES: usize = 8;
/// The MAC of a cursor, which detects a changed cursor or one of another list.
pub type CursorMac = [u8; CURSOR_MAC_BYTES];

/// Signs and verifies cursors of lists.
pub trait CursorSigner: Send + Sync {
    /// The MAC of a position in a list.
    fn sign(&self, list: &str, place: &str) -> CursorMac;

    /// Whether a configured key signed this position of this list. MUST compare in constant time.
    fn is_genuine(&self, list: &str, place: &str, mac: &CursorMac) -> bool;
}

/// The health of a dependency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It works.
    Up,
    /// It is unavailable, and the service goes on without it.
    Degraded(String),
    /// It answers and stores nothing, so that the service cannot sell.
    NoWrites(String),
    /// It is unavailable, and the service cannot sell.
    Down(String),
}

/// A named health check.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait HealthCheck: Send + Sync {
    /// Its name in `/healthz`.
    fn name(&self) -> &str;

    /// Runs the check.
    async fn check(&self) -> Health;

    /// What operators want to know of it besides, by name.
    fn details(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}
