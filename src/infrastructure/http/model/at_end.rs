//! The end of a response whose body is a stream: what is to be done then, such as its line in the access log.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// What is done at the end. The body holds an [`EndOfBody`] of it, the response's extensions hold a clone.
#[derive(Clone, Default)]
pub(crate) struct AtEnd(Arc<Mutex<Option<Work>>>);

type Work = Box<dyn FnOnce() + Send>;

/// Runs what is to be done at the end when it is dropped: the stream has ended, or its client has gone.
#[derive(Debug)]
pub(crate) struct EndOfBody(pub(crate) AtEnd);

impl AtEnd {
    /// Keeps what is to be done.
    pub(crate) fn set(&self, work: impl FnOnce() + Send + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(work));
    }
}

impl fmt::Debug for AtEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtEnd").finish_non_exhaustive()
    }
}

impl Drop for EndOfBody {
    fn drop(&mut self) {
        let work = self.0.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(work) = work {
            work();
        }
    }
}
