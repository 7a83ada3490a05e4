//! The requests, and what a response means.

use super::answer::Answer;

/// Kinds of requests, which are measured separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `POST /checkout`.
    Checkout,
    /// `POST /purchase`.
    Purchase,
    /// `GET` of a list.
    List,
}

/// What a response means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// The request had its effect.
    Accepted,
    /// The refusal that this traffic expects.
    Refused,
    /// 503: the service shed it.
    Shed,
    /// Everything else: another status, no response in time, a broken connection.
    Failed,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Checkout, Self::Purchase, Self::List];

    /// Its name in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Checkout => "checkout",
            Self::Purchase => "purchase",
            Self::List => "list",
        }
    }
}

impl Class {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Accepted, Self::Refused, Self::Shed, Self::Failed];

    /// The class of a response if no refusal is expected.
    pub(crate) fn of(answer: &Answer<'_>) -> Self {
        match answer.status {
            200..=299 => Self::Accepted,
            503 => Self::Shed,
            _ => Self::Failed,
        }
    }

    /// The class of a response if this refusal is expected.
    pub(crate) fn expecting(answer: &Answer<'_>, status: u16, code: &str) -> Self {
        if answer.is(status, code) { Self::Refused } else { Self::of(answer) }
    }
}

/// Buyers who use the generator's connections. A buyer is not bound to one: a free connection serves the buyer who has waited
/// longest, as behind a load balancer.
pub(crate) trait Traffic: Send {
    /// Writes the next request into an empty buffer; `None` when there is none (now).
    ///
    /// The connection's number is below the plan's `connections`, and it has at most one request in progress.
    fn ask(&mut self, connection: usize, request: &mut Vec<u8>) -> Option<Kind>;

    /// Takes the response to the connection's last request. Returns its class.
    fn take(&mut self, connection: usize, answer: &Answer<'_>) -> Class;

    /// The connection's last request will get no response.
    fn lose(&mut self, connection: usize);
}
