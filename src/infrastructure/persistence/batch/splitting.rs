//! Group commit at PostgreSQL: one transaction serves a batch; a batch that fails is split, so that one request which poisons
//! it, or one row that somebody else holds, does not fail its neighbours.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::PgConnection;

use super::session::Session;
use crate::application::ports::PortError;
use crate::domain::ids::SaleId;
use crate::infrastructure::batching::{BatchWork, NotServed};
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::{DatabaseError, ErrorClass};

/// What a batch of one sale does within a transaction, all or nothing.
#[async_trait]
pub(crate) trait BatchTransaction: Send + Sync + 'static {
    /// What is asked.
    type Request: Send + Sync + 'static;
    /// What is answered.
    type Reply: Send + 'static;
    /// What the application calls it.
    const WHAT: &'static str;

    /// Whether it takes more than one statement to write what is asked: then it is done in [`Mode::Locked`] at once.
    fn needs_transaction(request: &Self::Request) -> bool;

    /// Runs once. MUST answer one reply for each request, in order. MUST write what needs no transaction by one statement,
    /// which fails unless all that the decision was made on still holds. MUST be safe to repeat when its outcome is unknown: it looks for what
    /// an earlier try has done, or fails where that is not over yet.
    async fn run(
        &self,
        connection: &mut PgConnection,
        sale: SaleId,
        requests: &[Self::Request],
        mode: Mode,
    ) -> Result<Vec<Self::Reply>, DatabaseError>;

    /// A table was not there: forgets where the sale's rows were found.
    fn forget(&self, sale: SaleId);
}

/// How a batch meets others that want the same rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It reads without locks what it does not remember, and writes only if nobody was faster: one or two round trips, and
    /// no lock outlives a statement.
    AtOnce,
    /// The same among others who want the same items: it finds these by their keys, waits for whoever is selling them, and
    /// sells what is left then.
    Among,
    /// Within a transaction it locks the rows first, so that nobody can be faster.
    Locked,
}

/// Runs batches, again or in parts where that may help.
pub(crate) struct Splitting<T> {
    pub(crate) database: Database,
    pub(crate) transaction: T,
    /// How often the same requests are tried again.
    pub(crate) retries: u32,
}

#[async_trait]
impl<T: BatchTransaction> BatchWork for Splitting<T> {
    type Key = SaleId;
    type Request = T::Request;
    type Reply = Result<T::Reply, PortError>;
    type Desk = Session;

    fn gathers_for(&self) -> Duration {
        self.database.company().gathers_for()
    }

    async fn serve(
        &self,
        session: &mut Session,
        sale: SaleId,
        requests: Vec<T::Request>,
    ) -> Vec<Self::Reply> {
        let mut attempts = InTransactions { session, batch: self, sale };
        split(&mut attempts, &requests, self.retries, T::WHAT).await
    }
}

/// One try at a part of a batch, all or nothing.
#[async_trait]
trait Attempts<Request, Reply>: Send {
    async fn attempt(&mut self, part: &[Request]) -> Result<Vec<Reply>, DatabaseError>;
}

struct InTransactions<'a, T> {
    session: &'a mut Session,
    batch: &'a Splitting<T>,
    sale: SaleId,
}

#[async_trait]
impl<T: BatchTransaction> Attempts<T::Request, T::Reply> for InTransactions<'_, T> {
    async fn attempt(&mut self, part: &[T::Request]) -> Result<Vec<T::Reply>, DatabaseError> {
        let Splitting { database, transaction, .. } = self.batch;
        let result = self.session.run(database, transaction, self.sale, part).await;
        if result.as_ref().is_err_and(DatabaseError::is_missing_table) {
            transaction.forget(self.sale);
        }
        result
    }
}

/// What to do about a part that failed.
enum Next {
    Again,
    Halves,
    GiveUp,
}

async fn split<Request: Sync, Reply>(
    attempts: &mut dyn Attempts<Request, Reply>,
    requests: &[Request],
    retries: u32,
    what: &'static str,
) -> Vec<Result<Reply, PortError>> {
    let mut replies = Vec::with_capacity(requests.len());
    // A stack whose top is the earliest part: replies come out in the order of the requests.
    let mut parts = vec![(0..requests.len(), 0)];
    while let Some((part, tries)) = parts.pop() {
        let error = match attempts.attempt(&requests[part.clone()]).await {
            Ok(answers) => {
                replies.extend(answers.into_iter().map(Ok));
                continue;
            }
            Err(error) => error,
        };
        match next(&error, &part, tries < retries) {
            Next::Again => parts.push((part, tries + 1)),
            Next::Halves => {
                let middle = part.start + part.len() / 2;
                parts.push((middle..part.end, tries));
                parts.push((part.start..middle, tries));
            }
            Next::GiveUp => replies.extend(part_fails(part.len(), &error, what)),
        }
    }
    replies
}

fn next(error: &DatabaseError, part: &Range<usize>, may_try_again: bool) -> Next {
    let is_many = part.len() > 1;
    match error.class() {
        // A partition was dropped: its place is forgotten now, and the next look finds that there is none.
        _ if error.is_missing_table() && may_try_again => Next::Again,
        ErrorClass::Transient if is_many && error.is_lock_wait() => Next::Halves,
        ErrorClass::Transient | ErrorClass::Connection if may_try_again => Next::Again,
        ErrorClass::Permanent | ErrorClass::Transient if is_many => Next::Halves,
        ErrorClass::Permanent
        | ErrorClass::Transient
        | ErrorClass::Connection
        | ErrorClass::Timeout
        | ErrorClass::Refused
        | ErrorClass::Away => Next::GiveUp,
    }
}

fn part_fails<Reply>(
    callers: usize,
    error: &DatabaseError,
    what: &'static str,
) -> impl Iterator<Item = Result<Reply, PortError>> + use<Reply> {
    let class = error.class();
    let text = error.to_string();
    (0..callers).map(move |_| Err(class.port_error(what, text.clone().into())))
}

/// What the application is told about a request that was not executed.
pub(crate) fn not_served(what: &'static str, reason: NotServed) -> PortError {
    match reason {
        NotServed::Full | NotServed::TimeUp => PortError::Overloaded(what),
        NotServed::Closed => PortError::Unavailable { what, source: Box::new(reason) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infrastructure::persistence::pool::error::lost_race;

    /// Fails every part that holds a poisoned request (negative), and the first `races` runs.
    struct Scripted {
        races: u32,
        runs: Vec<Vec<i32>>,
    }

    #[async_trait]
    impl Attempts<i32, i32> for Scripted {
        async fn attempt(&mut self, part: &[i32]) -> Result<Vec<i32>, DatabaseError> {
            self.runs.push(part.to_vec());
            if self.races > 0 {
                self.races -= 1;
                return Err(lost_race());
            }
            if part.iter().any(|request| *request < 0) {
                return Err(DatabaseError::Unreadable("test"));
            }
            Ok(part.to_vec())
        }
    }

    async fn served(races: u32, requests: &[i32]) -> (Vec<Result<i32, PortError>>, Vec<Vec<i32>>) {
        let mut attempts = Scripted { races, runs: Vec::new() };
        let replies = split(&mut attempts, requests, 2, "test").await;
        (replies, attempts.runs)
    }

    #[tokio::test]
    async fn a_poisoned_request_fails_alone_and_replies_keep_their_order() {
        let (replies, _) = served(0, &[1, 2, -3, 4, 5, 6, 7]).await;

        let replies: Vec<_> = replies.into_iter().map(Result::ok).collect();
        assert_eq!(replies, [Some(1), Some(2), None, Some(4), Some(5), Some(6), Some(7)]);
    }

    #[tokio::test]
    async fn a_lost_race_is_run_again_whole() {
        let (replies, runs) = served(2, &[1, 2]).await;

        assert!(replies.iter().all(Result::is_ok));
        assert_eq!(runs, [[1, 2], [1, 2], [1, 2]]);
    }

    #[tokio::test]
    async fn a_race_that_is_always_lost_ends() {
        let (replies, _) = served(u32::MAX, &[1, 2, 3]).await;

        assert!(replies.iter().all(|reply| matches!(reply, Err(PortError::Unavailable { .. }))));
    }
}
