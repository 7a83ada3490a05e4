//! What is asked, and what an answer means.

use super::Answer;

/// Kinds of requests, which are measured apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `POST /checkout`.
    Checkout,
    /// `POST /purchase`.
    Purchase,
}

/// What an answer was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// What was asked for was done.
    Accepted,
    /// It was refused for a reason that this traffic expects.
    Refused,
    /// 503: the service had no room for it.
    Shed,
    /// Anything else: another status, no answer in time, a broken connection.
    Failed,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::Checkout, Self::Purchase];

    /// Its name in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Checkout => "checkout",
            Self::Purchase => "purchase",
        }
    }
}

impl Class {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Accepted, Self::Refused, Self::Shed, Self::Failed];

    /// What an answer is if no refusal is expected.
    pub(crate) fn of(answer: &Answer<'_>) -> Self {
        match answer.status {
            200..=299 => Self::Accepted,
            503 => Self::Shed,
            _ => Self::Failed,
        }
    }

    /// What an answer is if this refusal is expected.
    pub(crate) fn expecting(answer: &Answer<'_>, status: u16, code: &str) -> Self {
        if answer.is(status, code) { Self::Refused } else { Self::of(answer) }
    }
}

/// Buyers who ask over the generator's connections. A buyer is not bound to a connection: what continues is whoever has
/// waited longest for a connection, as behind a load balancer.
pub(crate) trait Traffic: Send {
    /// Writes the next request into an empty buffer; `None` when there is nothing to ask (now).
    ///
    /// The connection has a number below [`super::Plan::connections`], and one request under way at most.
    fn ask(&mut self, connection: usize, request: &mut Vec<u8>) -> Option<Kind>;

    /// Takes the answer to what was asked last over the connection, and says what it was.
    fn take(&mut self, connection: usize, answer: &Answer<'_>) -> Class;

    /// What was asked last over the connection has no answer and will have none.
    fn lose(&mut self, connection: usize);
}
