//! Splits a batch that failed or was too slow, so that one poisoned request, or one row that another transaction holds, does not
//! fail the others.

use std::time::Duration;

use async_trait::async_trait;

use super::context::BatchContext;
use super::lines;
use super::session;
use super::transaction::{BatchTransaction, Served};
use crate::application::ports::PortError;
use crate::domain::ids::SaleId;
use crate::infrastructure::batching::{Batch, BatchWork, Rejected};
use crate::infrastructure::persistence::pool::error::{DatabaseError, ErrorClass};

/// Runs batches, again or in halves where that may help.
pub(crate) struct Splitting<T> {
    pub(crate) context: BatchContext,
    pub(crate) transaction: T,
    pub(crate) retries: Retries,
}

/// How often, and for how long, requests are repeated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retries {
    /// How often the same batch is run again.
    pub(crate) times: u32,
    /// How long a caller waits for its reply; for callers that have gone nothing is run again.
    pub(crate) caller_timeout: Duration,
}

#[async_trait]
impl<T: BatchTransaction> BatchWork for Splitting<T> {
    type Key = SaleId;
    type Request = T::Request;
    type Reply = Result<T::Reply, PortError>;
    const LONG_BATCH: usize = lines::LONG_BATCH;

    fn gather_delay(&self) -> Duration {
        self.context.contention.gather_delay()
    }

    fn expected_wait(&self) -> Duration {
        self.context.database.expected_wait()
    }

    fn release_idle(&self) {
        self.context.database.release_idle();
    }

    async fn serve(
        &self,
        sale: SaleId,
        batch: Batch<T::Request, Self::Reply>,
    ) -> Batch<T::Request, Self::Reply> {
        split(&mut BatchAttempts { splitting: self, sale }, batch, self.retries, T::WHAT).await
    }
}

/// Attempts parts of a batch, each all or nothing.
#[async_trait]
trait Attempts<Request, Reply>: Send {
    async fn attempt(&mut self, part: &[Request]) -> Result<Vec<Served<Reply>>, DatabaseError>;
}

struct BatchAttempts<'a, T> {
    splitting: &'a Splitting<T>,
    sale: SaleId,
}

#[async_trait]
impl<T: BatchTransaction> Attempts<T::Request, T::Reply> for BatchAttempts<'_, T> {
    async fn attempt(
        &mut self,
        part: &[T::Request],
    ) -> Result<Vec<Served<T::Reply>>, DatabaseError> {
        let Splitting { context, transaction, .. } = self.splitting;
        let result = session::run(context, transaction, self.sale, part).await;
        if !result.as_ref().is_err_and(DatabaseError::is_missing_table) {
            return result;
        }
        // The partition was dropped since its statements were made. Nothing was written: the statement failed.
        transaction.forget(self.sale);
        session::run(context, transaction, self.sale, part).await
    }
}

/// What to do about a part that failed.
enum Next {
    Retry,
    Split,
    GiveUp,
}

/// Answers each part as soon as it is done. Returns the requests that are too long for their part.
async fn split<Request: Send + Sync, Reply: Send>(
    attempts: &mut dyn Attempts<Request, Reply>,
    batch: Batch<Request, Result<Reply, PortError>>,
    retries: Retries,
    what: &'static str,
) -> Batch<Request, Result<Reply, PortError>> {
    let mut too_long = Batch::empty();
    // A stack whose top is the earliest part, so that requests keep their order.
    let mut parts = vec![(batch, 0)];
    while let Some((part, tries)) = parts.pop() {
        let error = match attempts.attempt(part.requests()).await {
            Ok(served) => {
                let replies = served.into_iter().map(|served| served.reply().map(Ok));
                too_long.append(part.answer_some(replies));
                continue;
            }
            Err(error) => error,
        };
        match next(&error, part.len(), tries < retries.times) {
            Next::Retry => parts.push((part, tries + 1)),
            Next::Split => {
                let middle = part.len() / 2;
                let (first, second) = part.split_at(middle);
                parts.extend([(second, tries), (first, tries)]);
            }
            Next::GiveUp => {
                let requests = part.len();
                part.answer(failures(requests, &error, what));
            }
        }
        parts = of_waiting_callers(parts, retries.caller_timeout);
    }
    too_long
}

type SplitBatches<Request, Reply> = Vec<(Batch<Request, Reply>, u32)>;

/// Leaves callers out that have gone: repeating their requests would only keep PostgreSQL from those that wait.
fn of_waiting_callers<Request, Reply>(
    parts: SplitBatches<Request, Reply>,
    limit: Duration,
) -> SplitBatches<Request, Reply> {
    let waiting = parts.into_iter().map(|(part, tries)| (part.of_waiting_callers(limit), tries));
    waiting.filter(|(part, _)| !part.is_empty()).collect()
}

fn next(error: &DatabaseError, requests: usize, may_retry: bool) -> Next {
    let is_many = requests > 1;
    match error.class() {
        // A partition was dropped. It is forgotten now, and the next attempt finds that the sale has none.
        _ if error.is_missing_table() && may_retry => Next::Retry,
        // The same batch would take as long again.
        ErrorClass::Timeout | ErrorClass::Connection if is_many && error.is_too_slow() => {
            Next::Split
        }
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
    use crate::infrastructure::batching::batch_of;
    use crate::infrastructure::persistence::pool::error::lost_race;

    const RETRIES: Retries = Retries { times: 2, caller_timeout: Duration::from_mins(5) };

    /// Fails the first `races` runs, every part with a poisoned (negative) request, and parts of more than `fast` requests. Time
    /// passes with each run. A request above 99 is too long.
    struct Scripted {
        races: u32,
        fast: usize,
        takes: Duration,
        runs: Vec<Vec<i32>>,
    }

    const FAST: Scripted =
        Scripted { races: 0, fast: usize::MAX, takes: Duration::ZERO, runs: Vec::new() };

    #[async_trait]
    impl Attempts<i32, i32> for Scripted {
        async fn attempt(&mut self, part: &[i32]) -> Result<Vec<Served<i32>>, DatabaseError> {
            self.runs.push(part.to_vec());
            tokio::time::advance(self.takes).await;
            if self.races > 0 {
                self.races -= 1;
                return Err(lost_race());
            }
            if part.iter().any(|request| *request < 0) {
                return Err(DatabaseError::Unreadable("test"));
            }
            if part.len() > self.fast {
                return Err(DatabaseError::Silent);
            }
            let served = |request| match request {
                100.. => Served::TooLong,
                _ => Served::Reply(request),
            };
            Ok(part.iter().copied().map(served).collect())
        }
    }

    /// The replies of those that got one, the runs, and the requests that were returned.
    async fn served(
        mut attempts: Scripted,
        requests: &[i32],
    ) -> (Vec<Option<Result<i32, PortError>>>, Vec<Vec<i32>>, Vec<i32>) {
        let (batch, answers) = batch_of(requests.to_vec());
        let returned = split(&mut attempts, batch, RETRIES, "test").await;
        let returned_requests = returned.requests().to_vec();
        drop(returned);
        let mut replies = Vec::new();
        for answer in answers {
            replies.push(answer.await.ok().and_then(Result::ok));
        }
        (replies, attempts.runs, returned_requests)
    }

    fn are_ok(replies: &[Option<Result<i32, PortError>>]) -> bool {
        replies.iter().all(|reply| matches!(reply, Some(Ok(_))))
    }

    #[tokio::test(start_paused = true)]
    async fn a_poisoned_request_fails_alone_and_each_caller_gets_its_own_reply() {
        let (replies, ..) = served(FAST, &[1, 2, -3, 4, 5, 6, 7]).await;

        let replies: Vec<_> = replies.into_iter().map(|reply| reply.unwrap().ok()).collect();
        assert_eq!(replies, [Some(1), Some(2), None, Some(4), Some(5), Some(6), Some(7)]);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_lost_race_the_whole_batch_is_retried() {
        let (replies, runs, _) = served(Scripted { races: 2, ..FAST }, &[1, 2]).await;

        assert!(are_ok(&replies));
        assert_eq!(runs, [[1, 2], [1, 2], [1, 2]]);
    }

    #[tokio::test(start_paused = true)]
    async fn retries_of_lost_races_end() {
        let (replies, ..) = served(Scripted { races: u32::MAX, ..FAST }, &[1, 2, 3]).await;

        let is_unavailable =
            |reply: &Option<_>| matches!(reply, Some(Err(PortError::Unavailable { .. })));
        assert!(replies.iter().all(is_unavailable));
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_was_too_slow_is_split_at_once() {
        let (replies, runs, _) = served(Scripted { fast: 1, ..FAST }, &[1, 2, 3, 4]).await;

        assert!(are_ok(&replies));
        let expected: [&[i32]; 7] = [&[1, 2, 3, 4], &[1, 2], &[1], &[2], &[3, 4], &[3], &[4]];
        assert_eq!(runs, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_repeated_for_callers_that_have_gone() {
        let takes = RETRIES.caller_timeout * 2 / 3;
        let slow = Scripted { fast: 0, takes, ..FAST };

        let (replies, runs, _) = served(slow, &[1, 2, 3, 4]).await;

        assert_eq!(runs, [&[1, 2, 3, 4][..], &[1, 2]]);
        assert!(replies.iter().all(Option::is_none));
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_are_too_long_are_returned_and_the_others_are_served() {
        let (replies, runs, returned) = served(FAST, &[1, 100, 2, 101]).await;

        assert_eq!((runs.len(), returned), (1, vec![100, 101]));
        assert!(are_ok(&[replies[0].as_ref().map(|_| Ok(0)), replies[2].as_ref().map(|_| Ok(0))]));
    }
}
