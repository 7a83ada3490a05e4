//! Splits a failed batch, so that one poisoned request, or one row that another transaction holds, does not fail the others.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;

use super::context::BatchContext;
use super::session::Session;
use super::transaction::BatchTransaction;
use crate::application::ports::PortError;
use crate::domain::ids::SaleId;
use crate::infrastructure::batching::{BatchWork, Rejected};
use crate::infrastructure::persistence::pool::error::{DatabaseError, ErrorClass};

/// Runs batches, again or in halves where that may help.
pub(crate) struct Splitting<T> {
    pub(crate) context: BatchContext,
    pub(crate) transaction: T,
    /// How often the same requests are retried.
    pub(crate) retries: u32,
}

#[async_trait]
impl<T: BatchTransaction> BatchWork for Splitting<T> {
    type Key = SaleId;
    type Request = T::Request;
    type Reply = Result<T::Reply, PortError>;
    type WriterState = Session;

    fn gather_delay(&self) -> Duration {
        self.context.contention.gather_delay()
    }

    async fn serve(
        &self,
        session: &mut Session,
        sale: SaleId,
        requests: Vec<T::Request>,
    ) -> Vec<Self::Reply> {
        let mut attempts = SessionAttempts { session, splitting: self, sale };
        split(&mut attempts, &requests, self.retries, T::WHAT).await
    }
}

/// Attempts parts of a batch, each all or nothing.
#[async_trait]
trait Attempts<Request, Reply>: Send {
    async fn attempt(&mut self, part: &[Request]) -> Result<Vec<Reply>, DatabaseError>;
}

struct SessionAttempts<'a, T> {
    session: &'a mut Session,
    splitting: &'a Splitting<T>,
    sale: SaleId,
}

#[async_trait]
impl<T: BatchTransaction> Attempts<T::Request, T::Reply> for SessionAttempts<'_, T> {
    async fn attempt(&mut self, part: &[T::Request]) -> Result<Vec<T::Reply>, DatabaseError> {
        let Splitting { context, transaction, .. } = self.splitting;
        let result = self.session.run(context, transaction, self.sale, part).await;
        if result.as_ref().is_err_and(DatabaseError::is_missing_table) {
            transaction.forget(self.sale);
        }
        result
    }
}

/// What to do about a part that failed.
enum Next {
    Retry,
    Split,
    GiveUp,
}

async fn split<Request: Sync, Reply>(
    attempts: &mut dyn Attempts<Request, Reply>,
    requests: &[Request],
    retries: u32,
    what: &'static str,
) -> Vec<Result<Reply, PortError>> {
    let mut replies = Vec::with_capacity(requests.len());
    // A stack whose top is the earliest part, so that replies keep the order of the requests.
    let mut parts = vec![(0..requests.len(), 0)];
    while let Some((part, tries)) = parts.pop() {
        let error = match attempts.attempt(&requests[part.clone()]).await {
            Ok(served) => {
                replies.extend(served.into_iter().map(Ok));
                continue;
            }
            Err(error) => error,
        };
        match next(&error, &part, tries < retries) {
            Next::Retry => parts.push((part, tries + 1)),
            Next::Split => {
                let middle = part.start + part.len() / 2;
                parts.push((middle..part.end, tries));
                parts.push((part.start..middle, tries));
            }
            Next::GiveUp => replies.extend(failures(part.len(), &error, what)),
        }
    }
    replies
}

fn next(error: &DatabaseError, part: &Range<usize>, may_retry: bool) -> Next {
    let is_many = part.len() > 1;
    match error.class() {
        // A partition was dropped. It is forgotten now, and the next attempt finds that the sale has none.
        _ if error.is_missing_table() && may_retry => Next::Retry,
        ErrorClass::Transient if is_many && error.is_lock_wait() => Next::Split,
        ErrorClass::Transient | ErrorClass::Connection if may_retry => Next::Retry,
        ErrorClass::Permanent | ErrorClass::Transient if is_many => Next::Split,
        ErrorClass::Permanent
        | ErrorClass::Transient
        | ErrorClass::Connection
        | ErrorClass::Timeout
        | ErrorClass::Refused
        | ErrorClass::Away => Next::GiveUp,
    }
}

fn failures<Reply>(
    requests: usize,
    error: &DatabaseError,
    what: &'static str,
) -> impl Iterator<Item = Result<Reply, PortError>> + use<Reply> {
    let class = error.class();
    let text = error.to_string();
    (0..requests).map(move |_| Err(class.port_error(what, text.clone().into())))
}

/// The port's error for a request that was not executed.
pub(crate) fn rejected(what: &'static str, reason: Rejected) -> PortError {
    match reason {
        Rejected::Full | Rejected::TimeUp => PortError::Overloaded(what),
        Rejected::Closed => PortError::Unavailable { what, source: Box::new(reason) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infrastructure::persistence::pool::error::lost_race;

    /// Fails the first `races` runs, and every part with a poisoned (negative) request.
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
    async fn after_a_lost_race_the_whole_batch_is_retried() {
        let (replies, runs) = served(2, &[1, 2]).await;

        assert!(replies.iter().all(Result::is_ok));
        assert_eq!(runs, [[1, 2], [1, 2], [1, 2]]);
    }

    #[tokio::test]
    async fn retries_of_lost_races_end() {
        let (replies, _) = served(u32::MAX, &[1, 2, 3]).await;

        assert!(replies.iter().all(|reply| matches!(reply, Err(PortError::Unavailable { .. }))));
    }
}
