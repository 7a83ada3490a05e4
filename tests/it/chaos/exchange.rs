//! A request of a client and the response to it.

use serde_json::Value;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// `POST /checkout`.
    Checkout {
        /// The item.
        item: String,
        /// How many pieces.
        quantity: i64,
    },
    /// `POST /purchase`.
    Purchase {
        /// The code.
        code: String,
    },
}

/// A response, read once: the checker looks at every response of a run after each fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    /// The status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: String,
    /// The body's `code`: of a refusal the error code, of an accepted checkout its code.
    pub(crate) code: String,
    /// Of a purchase's final outcome, which every repeat must get.
    pub(crate) lines: Option<Lines>,
}

/// The lines of an outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lines {
    /// Items and pieces.
    pub(crate) sold: Vec<(String, i64)>,
    /// Items.
    pub(crate) failed: Vec<String>,
}

/// The kind of a response, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// 200.
    Acknowledged,
    /// A refusal of the contract: nothing is wrong.
    Refused,
    /// 503, or no response: the client may try again.
    Failed,
}

impl Response {
    /// Reads a body.
    pub(crate) fn new(status: u16, body: String) -> Self {
        let fields: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
        let is_outcome = status == 200 || fields["purchased_items"].is_array();
        let lines = is_outcome.then(|| Lines {
            sold: lines(&fields["purchased_items"]),
            failed: lines(&fields["failed_items"]).into_iter().map(|(item, _)| item).collect(),
        });
        Self { status, code: text(&fields["code"]), lines, body }
    }
}

fn lines(list: &Value) -> Vec<(String, i64)> {
    let lines = list.as_array().into_iter().flatten();
    lines.map(|line| (text(&line["id"]), line["quantity"].as_i64().unwrap_or(0))).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
