//! Requests that are served together, with the callers that wait for their replies.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::limits::Rejected;
use crate::infrastructure::traces::{Link, current_link};

/// A caller that waits for the reply to its request.
#[derive(Debug)]
pub(super) struct Caller<Reply> {
    pub(super) since: Instant,
    /// Its span, if it is traced.
    trace: Option<Link>,
    pub(super) reply: oneshot::Sender<Result<Reply, Rejected>>,
}

/// The end at which a caller waits.
pub(crate) type Answer<Reply> = oneshot::Receiver<Result<Reply, Rejected>>;

/// Requests in order of arrival, each with its caller.
#[derive(Debug)]
pub(crate) struct Batch<Request, Reply> {
    requests: Vec<Request>,
    callers: Vec<Caller<Reply>>,
}

impl<Reply> Caller<Reply> {
    /// A caller that begins to wait now.
    pub(super) fn new() -> (Self, Answer<Reply>) {
        let (reply, answer) = oneshot::channel();
        (Self { since: Instant::now(), trace: current_link(), reply }, answer)
    }

    /// Whether it still waits, after so long at most.
    fn still_waits(&self, limit: Duration) -> bool {
        !self.reply.is_closed() && self.since.elapsed() < limit
    }
}

impl<Request, Reply> Batch<Request, Reply> {
    pub(crate) fn empty() -> Self {
        Self { requests: Vec::new(), callers: Vec::new() }
    }

    pub(super) fn with_capacity(requests: usize) -> Self {
        Self { requests: Vec::with_capacity(requests), callers: Vec::with_capacity(requests) }
    }

    pub(crate) fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// Takes the spans of its callers that are traced.
    pub(super) fn take_traces(&mut self) -> Vec<Link> {
        self.callers.iter_mut().filter_map(|caller| caller.trace.take()).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Sends each caller its reply. There MUST be one for each request, in order.
    pub(crate) fn answer(self, replies: impl IntoIterator<Item = Reply>) {
        for (caller, reply) in self.callers.into_iter().zip(replies) {
            // Fails if the caller has gone away.
            let _ = caller.reply.send(Ok(reply));
        }
    }

    /// Sends the replies, and returns the requests that have none.
    pub(crate) fn answer_some(self, replies: impl IntoIterator<Item = Option<Reply>>) -> Self {
        let mut returned = Self::empty();
        for ((request, caller), reply) in self.into_waiting().zip(replies) {
            match reply {
                Some(reply) => drop(caller.reply.send(Ok(reply))),
                None => returned.push(request, caller),
            }
        }
        returned
    }

    /// So many of the first requests, and the others.
    pub(crate) fn split_at(mut self, first: usize) -> (Self, Self) {
        let first = first.min(self.len());
        let rest = Self {
            requests: self.requests.split_off(first),
            callers: self.callers.split_off(first),
        };
        (self, rest)
    }

    /// Adds the requests of another batch behind these.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.requests.append(&mut other.requests);
        self.callers.append(&mut other.callers);
    }

    /// Only those whose callers still wait, after so long at most; the others are rejected.
    pub(crate) fn of_waiting_callers(self, limit: Duration) -> Self {
        if self.callers.iter().all(|caller| caller.still_waits(limit)) {
            return self;
        }
        let mut waiting = Self::empty();
        for (request, caller) in self.into_waiting() {
            if caller.still_waits(limit) {
                waiting.push(request, caller);
            } else {
                let _ = caller.reply.send(Err(Rejected::TimeUp));
            }
        }
        waiting
    }

    pub(super) fn into_waiting(self) -> impl Iterator<Item = (Request, Caller<Reply>)> {
        self.requests.into_iter().zip(self.callers)
    }

    pub(super) fn push(&mut self, request: Request, caller: Caller<Reply>) {
        self.requests.push(request);
        self.callers.push(caller);
    }
}

/// A batch of these requests, and the ends at which their callers wait.
#[cfg(any(test, feature = "bench"))]
pub(crate) fn batch_of<Request, Reply>(
    requests: Vec<Request>,
) -> (Batch<Request, Reply>, Vec<Answer<Reply>>) {
    let (callers, answers) = requests.iter().map(|_| Caller::new()).unzip();
    (Batch { requests, callers }, answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn callers_that_have_gone_or_waited_for_too_long_are_left_out() {
        let limit = Duration::from_secs(1);
        let (old, mut old_answers) = batch_of::<_, ()>(vec![1]);
        tokio::time::advance(limit).await;
        let (mut batch, mut answers) = batch_of(vec![2, 3, 4]);
        batch.append(old);
        drop(answers.remove(1));

        let waiting = batch.of_waiting_callers(limit);

        assert_eq!(waiting.requests(), [2, 4]);
        assert_eq!(old_answers.remove(0).await.unwrap(), Err(Rejected::TimeUp));
        waiting.answer([(), ()]);
        for answer in answers {
            assert_eq!(answer.await.unwrap(), Ok(()));
        }
    }

    #[tokio::test]
    async fn requests_without_a_reply_are_returned_with_their_callers() {
        let (batch, mut answers) = batch_of(vec!["a", "b", "c"]);

        let returned = batch.answer_some([Some(1), None, Some(3)]);

        assert_eq!(returned.requests(), ["b"]);
        returned.answer([2]);
        for reply in 1..=3 {
            assert_eq!(answers.remove(0).await.unwrap(), Ok(reply));
        }
    }

    #[test]
    fn parts_keep_the_order() {
        let (batch, _answers) = batch_of::<_, ()>(vec![1, 2, 3]);

        let (mut first, second) = batch.split_at(1);

        assert_eq!((first.requests(), second.requests()), (&[1][..], &[2, 3][..]));
        first.append(second);
        assert_eq!(first.requests(), [1, 2, 3]);
    }
}
