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

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    /// The status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: String,
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
    /// A field of the body; null if there is none.
    pub(crate) fn at(&self, field: &str) -> Value {
        let body: Value = serde_json::from_str(&self.body).unwrap_or(Value::Null);
        body.get(field).cloned().unwrap_or(Value::Null)
    }

    /// The body's `code`: of a refusal the error code, of an accepted checkout its code.
    pub(crate) fn code(&self) -> String {
        self.at("code").as_str().unwrap_or_default().to_owned()
    }

    /// Whether it is the final outcome of a purchase, which every repeat must get.
    pub(crate) fn is_outcome(&self) -> bool {
        self.status == 200 || self.at("purchased_items").is_array()
    }
}
