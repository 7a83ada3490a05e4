//! Errors: [`catalogue`] has an entry for each, with its status, code, message and page; [`convert`] maps refusals of use cases to
//! them; [`respond`] writes them as [`v1`] or as problem details ([`problem_body`]). [`problem`] is the error type of version 2's
//! handlers; [`facts`] are members that both versions have.
//!
//! Responses never contain causes: the log has them under the request's id.

mod catalogue;
mod convert;
mod facts;
pub(crate) mod problem;
pub(crate) mod problem_body;
mod respond;
pub(crate) mod v1;

pub(crate) use catalogue::{ApiError, Entry, ValidationErrors, with_page};
pub(crate) use respond::Cause;
