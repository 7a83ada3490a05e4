//! What every service needs: clocks, signatures, health, errors.

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::code::CodeClaim;
use crate::domain::ids::{AttemptId, SaleId};
use crate::domain::sale::ClockReading;

/// A port could not do what it was asked. Expected answers are never errors.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Something behind the port is away or too slow. Asking again later is safe.
    #[error("{what} is unavailable")]
    Unavailable {
        /// What was asked for.
        what: &'static str,
        /// Why it did not answer.
        source: BoxError,
    },
    /// A bounded queue is full, or the request's time was up before it was begun: nothing was done.
    #[error("{0} is overloaded")]
    Overloaded(&'static str),
    /// Anything that should not happen.
    #[error("{what} failed")]
    Broken {
        /// What was asked for.
        what: &'static str,
        /// What happened.
        source: BoxError,
    },
}

/// The technology's own error, kept for the log.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The clocks: the database's, as measured from here, and one that only ever goes forward.
#[cfg_attr(test, mockall::automock)]
pub trait Clock: Send + Sync {
    /// What the database's clock says; `None` before it was measured.
    fn database(&self) -> Option<ClockReading>;

    /// Time since some fixed moment of this process.
    fn monotonic(&self) -> Duration;
}

/// Signs codes and tells forged ones.
#[cfg_attr(test, mockall::automock)]
pub trait CodeSigner: Send + Sync {
    /// A code that [`Self::is_genuine`] accepts while its key is configured.
    fn sign(&self, sale: SaleId, attempt: AttemptId) -> CodeClaim;

    /// Whether the code was signed by a key that is configured. MUST compare in constant time.
    fn is_genuine(&self, claim: &CodeClaim) -> bool;
}

/// Bytes of a cursor's MAC.
pub const CURSOR_MAC_BYTES: usize = 8;
/// What tells a cursor that was changed, or is of another list.
pub type CursorMac = [u8; CURSOR_MAC_BYTES];

/// Signs the places at which lists go on.
pub trait CursorSigner: Send + Sync {
    /// For a place in a list.
    fn sign(&self, list: &str, place: &str) -> CursorMac;

    /// Whether it was signed for this place in this list, by a key that is configured. MUST compare in constant time.
    fn is_genuine(&self, list: &str, place: &str, mac: &CursorMac) -> bool;
}

/// State of something that the service needs or likes to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It works.
    Up,
    /// It is away, and the service goes on without it.
    Degraded(String),
    /// It is away, and the service cannot sell.
    Down(String),
}

/// A named health check.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait HealthCheck: Send + Sync {
    /// Its name in `/healthz`.
    fn name(&self) -> &'static str;

    /// Looks.
    async fn check(&self) -> Health;
}
