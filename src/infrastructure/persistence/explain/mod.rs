//! Explain: the statements of the service by their names, and how PostgreSQL runs them.
//!
//! - [`named`]: what a named statement is. [`requests`] and [`background`] list those of requests and of background work.
//! - [`plans`]: asks PostgreSQL for their plans, with values of a real sale. [`fingerprint`]: recognises a statement by its text, for
//!   the log of slow ones.

mod background;
pub(crate) mod fingerprint;
pub(crate) mod named;
pub(crate) mod plans;
mod requests;

use named::Named;

/// All named statements: those of requests first.
pub(crate) fn all() -> impl Iterator<Item = &'static Named> {
    requests::STATEMENTS.iter().chain(background::STATEMENTS)
}
