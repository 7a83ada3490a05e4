//! What a batch is: a transaction of one sale, and the mode that it runs in.

use async_trait::async_trait;
use sqlx::PgConnection;

use crate::domain::ids::SaleId;
use crate::infrastructure::persistence::pool::error::DatabaseError;

/// Decides and writes the requests of a batch, all or nothing.
#[async_trait]
pub(crate) trait BatchTransaction: Send + Sync + 'static {
    /// What a caller asks for.
    type Request: Send + Sync + 'static;
    /// What a caller gets back.
    type Reply: Send + 'static;
    /// The name of the request in errors of the port.
    const WHAT: &'static str;

    /// Whether the request takes more than one writing statement: its batch then runs in [`BatchMode::Pessimistic`] at once.
    fn needs_transaction(request: &Self::Request) -> bool;

    /// Runs once. MUST return what became of each request, in order. MUST NOT read or write more lines than
    /// [`lines_each`](super::lines::lines_each) allows for so many requests. MUST write what needs no transaction by one statement, which
    /// fails unless everything that the decision rests on still holds. MUST be safe to repeat when its outcome is unknown: it
    /// finds what an earlier run has done, or fails while that run is not over.
    async fn run(
        &self,
        connection: &mut PgConnection,
        sale: SaleId,
        requests: &[Self::Request],
        mode: BatchMode,
    ) -> Result<Vec<Served<Self::Reply>>, DatabaseError>;

    /// Forgets which partition holds the sale, because a table did not exist.
    fn forget(&self, sale: SaleId);
}

/// What became of a request in a batch.
#[derive(Debug)]
pub(crate) enum Served<Reply> {
    Reply(Reply),
    /// Nothing: it has too many lines for a batch of this size.
    TooLong,
}

impl<Reply> Served<Reply> {
    /// The reply, if there is one.
    pub(crate) fn reply(self) -> Option<Reply> {
        match self {
            Self::Reply(reply) => Some(reply),
            Self::TooLong => None,
        }
    }
}

/// How a batch deals with others that write the same rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchMode {
    /// Reads without locks what it does not remember, and writes only if no other transaction was faster. One or two round trips;
    /// no lock outlives a statement.
    Optimistic,
    /// Like `Optimistic`, but among others that sell the same items: reads everything, finds the items by their keys, waits for
    /// whichever transaction is selling them, and sells what that leaves.
    Contended,
    /// Locks the rows first, within a transaction, so that no other transaction can be faster.
    Pessimistic,
}
