//! Failures of the generator.

/// The generator failed: its measurements say nothing about the service.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GeneratorError {
    #[error("the load generator: {0}")]
    Io(#[from] std::io::Error),
    #[error("the load generator: {0}")]
    Clock(#[from] nix::Error),
    #[error("connections broke {0} times: is the service gone?")]
    Broken(u64),
    #[error("a histogram of latencies: {0}")]
    Histogram(String),
    #[error("no traffic was given")]
    NoTraffic,
    #[error("a thread of the load generator panicked")]
    Panicked,
}
