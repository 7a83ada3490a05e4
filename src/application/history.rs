//! History: the epoch of the database in which this instance works.
//!
//! When the database has another history than before, because of a failover that lost commits or of a restored backup, everything that
//! was learnt from the old one may be wrong: the instance forgets it, before it answers anything from the new one.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::domain::epoch::Epochs;

/// The epochs that this instance knows. Adapters and use cases share it.
#[derive(Default)]
pub struct History {
    /// The id of the latest epoch.
    id: AtomicI64,
    epochs: RwLock<Option<Arc<Epochs>>>,
    forget: Mutex<Vec<Box<dyn Fn() + Send + Sync>>>,
}

/// What [`History::adopt`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adopted {
    /// These are the first epochs that this instance knows.
    First,
    /// They were known.
    Known,
    /// They replaced the known ones, and what was learnt before is forgotten.
    Next,
    /// They lack an epoch that is known: they are of a server that others have left behind. Nothing has changed.
    Outdated,
}

impl History {
    /// Identifies the latest epoch; 0 before one is known. A value that was taken before something was read or written shows
    /// afterwards whether that happened in the epoch of now.
    #[must_use]
    pub fn id(&self) -> i64 {
        self.id.load(Ordering::Acquire)
    }

    /// The known epochs.
    #[must_use]
    pub fn epochs(&self) -> Option<Arc<Epochs>> {
        self.epochs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Calls `forget` whenever the history has changed, before anything of the new one is read.
    pub fn when_changed(&self, forget: impl Fn() + Send + Sync + 'static) {
        self.forget.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(forget));
    }

    /// Takes the database's epochs.
    pub fn adopt(&self, new: Epochs) -> Adopted {
        let mut epochs = self.epochs.write().unwrap_or_else(PoisonError::into_inner);
        let adopted = match epochs.as_deref() {
            None => Adopted::First,
            Some(known) if *known == new => return Adopted::Known,
            Some(known) if !new.follow(known) => return Adopted::Outdated,
            Some(_) => Adopted::Next,
        };
        self.id.store(new.latest().id, Ordering::Release);
        *epochs = Some(Arc::new(new));
        drop(epochs);
        if adopted == Adopted::Next {
            // What is stored between the two lines above and here carries the old id, or is forgotten now.
            for forget in self.forget.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                forget();
            }
        }
        adopted
    }

    /// Whether the epoch of now is the one with this id.
    #[must_use]
    pub fn is_still(&self, id: i64) -> bool {
        self.id() == id
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("epochs", &self.epochs()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;
    use crate::domain::epoch::Epoch;

    fn epochs(ids: &[i64]) -> Epochs {
        let epoch = |(number, id): (i64, &i64)| Epoch {
            number,
            id: *id,
            first_attempt: number,
            end_attempt: number + 1,
        };
        Epochs::new((1..).zip(ids).map(epoch).collect()).unwrap()
    }

    #[test]
    fn another_history_is_adopted_once_and_the_old_one_forgotten() {
        let (history, forgotten) = (History::default(), Arc::new(AtomicU32::new(0)));
        let counter = Arc::clone(&forgotten);
        history.when_changed(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });

        assert_eq!(history.adopt(epochs(&[7])), Adopted::First);
        assert_eq!(history.adopt(epochs(&[7])), Adopted::Known);
        assert_eq!(forgotten.load(Ordering::Relaxed), 0);
        assert_eq!(history.adopt(epochs(&[7, 8])), Adopted::Next);
        assert_eq!(forgotten.load(Ordering::Relaxed), 1);
        assert!(history.is_still(8));
    }

    #[test]
    fn a_server_that_others_have_left_behind_changes_nothing() {
        let history = History::default();
        history.adopt(epochs(&[7, 8]));

        assert_eq!(history.adopt(epochs(&[7])), Adopted::Outdated);
        assert_eq!(history.id(), 8);
    }

    #[test]
    fn a_second_history_with_as_many_epochs_replaces_the_first() {
        let history = History::default();
        history.adopt(epochs(&[7, 8]));

        assert_eq!(history.adopt(epochs(&[7, 9])), Adopted::Next);
        assert_eq!(history.id(), 9);
    }
}
