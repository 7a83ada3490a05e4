//! Requests of a lane that are too long for its batches: they are served in small batches, in turn with the other requests.

use std::collections::VecDeque;

use super::admission::AdmissionLimit;
use super::batch::{Batch, Caller};
use super::limits::{BatchLimits, Rejected};

/// The long requests that one writer has found.
pub(super) struct LongRequests<Request, Reply> {
    waiting: VecDeque<(Request, Caller<Reply>)>,
    admission: AdmissionLimit,
    /// Maximum number of requests in a batch of them.
    size: usize,
    /// Whether the next batch is one of them.
    is_next: bool,
}

impl<Request, Reply> LongRequests<Request, Reply> {
    pub(super) fn new(limits: BatchLimits, size: usize) -> Self {
        let admission = AdmissionLimit::new(BatchLimits { size, writers: 1, ..limits });
        Self { waiting: VecDeque::new(), admission, size, is_next: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Adds requests, and rejects those that would not be served in time. Returns how many were added.
    pub(super) fn add(&mut self, long: Batch<Request, Reply>) -> usize {
        let before = self.waiting.len();
        for (request, caller) in long.into_waiting() {
            if self.admission.admits(self.waiting.len()) {
                self.waiting.push_back((request, caller));
            } else {
                let _ = caller.reply.send(Err(Rejected::Full));
            }
        }
        self.waiting.len() - before
    }

    /// The next batch of them, every second time.
    pub(super) fn turn(&mut self) -> Option<Vec<(Request, Caller<Reply>)>> {
        let is_turn = std::mem::replace(&mut self.is_next, true);
        if !is_turn || self.is_empty() {
            return None;
        }
        self.is_next = false;
        Some(self.waiting.drain(..self.size.min(self.waiting.len())).collect())
    }

    pub(super) fn admission(&self) -> &AdmissionLimit {
        &self.admission
    }
}
