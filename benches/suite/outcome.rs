//! The result of whatever may fail.

/// Whatever stops a run. It is reported and not handled.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
/// A result that can fail in any way.
pub(crate) type Outcome<T> = Result<T, Failure>;
