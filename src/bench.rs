//! What the benchmarks need of the library, and nobody else: the feature `bench` makes it.

use std::process::ExitCode;
use std::sync::Arc;

use axum::body::HttpBody;
use axum::response::Response;

use crate::application::catalogue::Item;
use crate::application::checkout::CheckoutAnswer;
use crate::application::ports::CodeSigner;
use crate::config::CodeKey;
use crate::domain::purchase::Outcome;
use crate::infrastructure::{http, persistence, signing};

/// Serves like `flash-sale serve`, but with a transaction for each request.
#[must_use]
pub fn serve_direct() -> ExitCode {
    crate::cli::run_service(crate::app::one_by_one)
}

/// What the service sends to PostgreSQL for a batch that nobody is in the way of, and of which it remembers nothing.
#[derive(Debug)]
pub struct Statements {
    /// Reads what a batch of checkouts is decided on.
    pub read_checkouts: String,
    /// Writes what was decided.
    pub write_checkouts: String,
    /// Reads what a batch of purchases is decided on.
    pub read_purchases: String,
    /// Writes what was decided.
    pub write_purchases: String,
}

/// The statements for the partitions with this ending: `_from_0` has the sales 1 to 99.
#[must_use]
pub fn statements(ending: &str) -> Statements {
    let made = |template| persistence::of_partition(template, ending);
    Statements {
        read_checkouts: made(persistence::READ_CHECKOUTS),
        write_checkouts: made(persistence::WRITE_CHECKOUTS),
        read_purchases: made(persistence::READ_PURCHASES),
        write_purchases: made(persistence::WRITE_PURCHASES),
    }
}

/// The service's signer with one key; `None` if the key cannot be used.
#[must_use]
pub fn signer(key: CodeKey) -> Option<Arc<dyn CodeSigner>> {
    Some(Arc::new(signing::HmacSigner::new(&[key]).ok()?))
}

/// Makes the response to a checkout; the bytes of its body.
#[must_use]
pub fn checkout_response(answer: CheckoutAnswer) -> u64 {
    body_bytes(&http::checkout_response(answer))
}

/// Makes the response to a purchase; the bytes of its body.
#[must_use]
pub fn purchase_response(outcome: &Outcome, items: Vec<Item>) -> u64 {
    body_bytes(&http::purchase_response(outcome, items))
}

fn body_bytes(response: &Response) -> u64 {
    response.body().size_hint().lower()
}
