//! Group commit at PostgreSQL: one transaction serves a batch; a batch that fails is split, so that one request which poisons
//! it, or one row that somebody else holds, does not fail its neighbours.

use std::ops::Range;

use async_trait::async_trait;

use super::error::{DatabaseError, ErrorClass};
use crate::application::ports::PortError;
use crate::domain::ids::SaleId;
use crate::infrastructure::batching::{BatchWork, NotServed};

/// A transaction that serves a batch of one sale, all or nothing.
#[async_trait]
pub(super) trait BatchTransaction: Send + Sync + 'static {
    /// What is asked.
    type Request: Send + Sync + 'static;
    /// What is answered.
    type Reply: Send + 'static;
    /// What the application calls it.
    const WHAT: &'static str;

    /// Runs once. MUST answer one reply for each request, in order. MUST be safe to repeat when its outcome is unknown: it
    /// looks under the buyers' locks for what an earlier try has done.
    async fn run(
        &self,
        sale: SaleId,
        requests: &[Self::Request],
    ) -> Result<Vec<Self::Reply>, DatabaseError>;
}

/// Runs batches, again or in parts where that may help.
pub(super) struct Splitting<T> {
    pub(super) transaction: T,
    /// How often the same requests are tried again.
    pub(super) retries: u32,
}

/// What to do about a part that failed.
enum Next {
    Again,
    Halves,
    GiveUp,
}

#[async_trait]
impl<T: BatchTransaction> BatchWork for Splitting<T> {
    type Key = SaleId;
    type Request = T::Request;
    type Reply = Result<T::Reply, PortError>;

    async fn serve(&self, sale: SaleId, requests: Vec<T::Request>) -> Vec<Self::Reply> {
        let mut replies = Vec::with_capacity(requests.len());
        // A stack whose top is the earliest part: replies come out in the order of the requests.
        let mut parts = vec![(0..requests.len(), 0)];
        while let Some((part, tries)) = parts.pop() {
            let error = match self.transaction.run(sale, &requests[part.clone()]).await {
                Ok(answers) => {
                    replies.extend(answers.into_iter().map(Ok));
                    continue;
                }
                Err(error) => error,
            };
            match self.next(&error, &part, tries) {
                Next::Again => parts.push((part, tries + 1)),
                Next::Halves => {
                    let middle = part.start + part.len() / 2;
                    parts.push((middle..part.end, tries));
                    parts.push((part.start..middle, tries));
                }
                Next::GiveUp => replies.extend(part_fails::<T>(part.len(), &error)),
            }
        }
        replies
    }
}

impl<T: BatchTransaction> Splitting<T> {
    fn next(&self, error: &DatabaseError, part: &Range<usize>, tries: u32) -> Next {
        let is_many = part.len() > 1;
        match error.class() {
            ErrorClass::Transient if is_many && error.is_lock_wait() => Next::Halves,
            ErrorClass::Transient | ErrorClass::Connection if tries < self.retries => Next::Again,
            ErrorClass::Permanent | ErrorClass::Transient if is_many => Next::Halves,
            ErrorClass::Permanent
            | ErrorClass::Transient
            | ErrorClass::Connection
            | ErrorClass::Timeout => Next::GiveUp,
        }
    }
}

fn part_fails<T: BatchTransaction>(
    callers: usize,
    error: &DatabaseError,
) -> impl Iterator<Item = Result<T::Reply, PortError>> {
    let class = error.class();
    let text = error.to_string();
    (0..callers).map(move |_| {
        let source = text.clone().into();
        Err(match class {
            ErrorClass::Permanent => PortError::Broken { what: T::WHAT, source },
            ErrorClass::Transient | ErrorClass::Timeout | ErrorClass::Connection => {
                PortError::Unavailable { what: T::WHAT, source }
            }
        })
    })
}

/// What the application is told about a request that was not executed.
pub(super) fn not_served(what: &'static str, reason: NotServed) -> PortError {
    match reason {
        NotServed::Full | NotServed::TimeUp => PortError::Overloaded(what),
        NotServed::Closed => PortError::Unavailable { what, source: Box::new(reason) },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Fails every batch that holds a poisoned request (negative), and the first `races` runs.
    struct Scripted {
        races: Mutex<u32>,
        runs: Mutex<Vec<Vec<i32>>>,
    }

    #[async_trait]
    impl BatchTransaction for Scripted {
        type Request = i32;
        type Reply = i32;
        const WHAT: &'static str = "test";

        async fn run(&self, _: SaleId, requests: &[i32]) -> Result<Vec<i32>, DatabaseError> {
            self.runs.lock().unwrap().push(requests.to_vec());
            let mut races = self.races.lock().unwrap();
            if *races > 0 {
                *races -= 1;
                return Err(DatabaseError::Raced("test"));
            }
            if requests.iter().any(|request| *request < 0) {
                return Err(DatabaseError::Unreadable("test"));
            }
            Ok(requests.to_vec())
        }
    }

    fn splitting(races: u32) -> Splitting<Scripted> {
        let transaction = Scripted { races: Mutex::new(races), runs: Mutex::default() };
        Splitting { transaction, retries: 2 }
    }

    #[tokio::test]
    async fn a_poisoned_request_fails_alone_and_replies_keep_their_order() {
        let batch = splitting(0);

        let replies = batch.serve(SaleId::new(1).unwrap(), vec![1, 2, -3, 4, 5, 6, 7]).await;

        let replies: Vec<_> = replies.into_iter().map(Result::ok).collect();
        assert_eq!(replies, [Some(1), Some(2), None, Some(4), Some(5), Some(6), Some(7)]);
    }

    #[tokio::test]
    async fn a_lost_race_is_run_again_whole() {
        let batch = splitting(2);

        let replies = batch.serve(SaleId::new(1).unwrap(), vec![1, 2]).await;

        assert!(replies.iter().all(Result::is_ok));
        assert_eq!(batch.transaction.runs.lock().unwrap().len(), 3);
    }

    #[tokio::test]
    async fn a_race_that_is_always_lost_ends() {
        let batch = splitting(u32::MAX);

        let replies = batch.serve(SaleId::new(1).unwrap(), vec![1, 2, 3]).await;

        assert!(replies.iter().all(|reply| matches!(reply, Err(PortError::Unavailable { .. }))));
    }
}
