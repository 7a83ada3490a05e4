//! Limits of a server's connections.

use std::time::Duration;

/// Limits of a server's connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerLimits {
    /// Maximum number of concurrent connections.
    pub(crate) connections: usize,
    /// Maximum time to receive a head, and until the first byte of a new connection.
    pub(crate) header_read_timeout: Duration,
    /// Maximum time between two requests of a connection.
    pub(crate) idle_timeout: Duration,
    /// Maximum size of a head, in bytes.
    pub(crate) head_bytes: usize,
    /// Maximum number of concurrent requests on one HTTP/2 connection.
    pub(crate) streams: u32,
    /// Time in which a client must read some of its response.
    pub(crate) write_timeout: Duration,
    /// Time for open connections to end during shutdown.
    pub(crate) close_timeout: Duration,
}
