//! Parts of the library for the benchmarks only, behind the feature `bench`.

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

/// Serves like `flash-sale serve`, but with one transaction per request.
#[must_use]
pub fn serve_direct() -> ExitCode {
    crate::cli::run_service(crate::app::one_by_one)
}

/// The statements of a batch without contention and without recent writes.
#[derive(Debug)]
pub struct Statements {
    /// Reads the state on which a batch of checkouts is decided.
    pub read_checkouts: String,
    /// Writes the decisions.
    pub write_checkouts: String,
    /// Reads the state on which a batch of purchases is decided.
    pub read_purchases: String,
    /// Writes the decisions.
    pub write_purchases: String,
}

/// The statements for the partitions with this suffix: `_from_0` contains the sales 1 to 99.
#[must_use]
pub fn statements(ending: &str) -> Statements {
    let made = |template| persistence::for_partition(template, ending);
    Statements {
        read_checkouts: made(persistence::READ_CHECKOUTS),
        write_checkouts: made(persistence::WRITE_CHECKOUTS),
        read_purchases: made(persistence::READ_PURCHASES),
        write_purchases: made(persistence::WRITE_PURCHASES),
    }
}

/// The service's signer with one key; `None` if the key is invalid.
#[must_use]
pub fn signer(key: CodeKey) -> Option<Arc<dyn CodeSigner>> {
    Some(Arc::new(signing::HmacSigner::new(&[key]).ok()?))
}

/// Creates the response to a checkout and returns the size of its body in bytes.
#[must_use]
pub fn checkout_response(answer: CheckoutAnswer) -> u64 {
    body_bytes(&http::checkout_response(answer))
}

/// Creates the response to a purchase and returns the size of its body in bytes.
#[must_use]
pub fn purchase_response(outcome: &Outcome, items: Vec<Item>) -> u64 {
    body_bytes(&http::purchase_response(outcome, items))
}

fn body_bytes(response: &Response) -> u64 {
    response.body().size_hint().lower()
}
