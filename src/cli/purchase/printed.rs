//! What the command prints of a purchase.

use serde_json::{Value, json};

use crate::application::operators::cancel_purchase::Cancelled;
use crate::cli::time::text;
use crate::domain::code::CodeClaim;

/// Why a text is no code of a purchase.
pub(super) fn unknown(code: &str) -> String {
    format!("there is no purchase {code:?}: this service issued no such code")
}

/// What a cancellation prints.
pub(super) fn row(code: CodeClaim, cancelled: &Cancelled) -> Value {
    let cancellation = &cancelled.cancellation;
    let items = cancellation
        .lines
        .iter()
        .map(|taken| json!({ "id": taken.id.as_str(), "quantity": taken.line.quantity.get() }));
    json!({
        "code": code.to_string(),
        "sale_id": code.sale.to_string(),
        "buyer_id": cancellation.buyer.as_str(),
        "cancelled_at": text(cancellation.cancelled_at),
        "items": items.collect::<Vec<_>>(),
        "pieces_cancelled": cancellation.pieces(),
        "pieces_left": cancellation.pieces_left,
        "bought": cancellation.bought,
    })
}
