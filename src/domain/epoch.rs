//! Epochs: the spans of time in which the database had one history.
//!
//! A failover to a standby that lacks the last commits, or a restored backup, begins the next one. Numbers of attempts jump
//! far ahead with each, so an attempt's number shows the epoch in which it was created.

use super::ids::AttemptId;

/// An epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// Its number, from 1.
    pub number: i64,
    /// A random number: two histories that begin an epoch of the same number differ in it.
    pub id: i64,
    /// The first number of an attempt in this epoch.
    pub first_attempt: i64,
    /// The first number after those. Far ahead: a lost history had fewer attempts.
    pub end_attempt: i64,
}

/// All epochs so far, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epochs {
    earlier: Vec<Epoch>,
    latest: Epoch,
}

impl Epochs {
    /// From all epochs, oldest first; `None` if there is none.
    #[must_use]
    pub fn new(mut epochs: Vec<Epoch>) -> Option<Self> {
        let latest = epochs.pop()?;
        Some(Self { earlier: epochs, latest })
    }

    /// The latest epoch.
    #[must_use]
    pub fn latest(&self) -> Epoch {
        self.latest
    }

    /// The epoch in which an attempt was created.
    #[must_use]
    pub fn of(&self, attempt: AttemptId) -> Epoch {
        let newest_first = std::iter::once(&self.latest).chain(self.earlier.iter().rev());
        let mut began_before = newest_first.filter(|epoch| epoch.first_attempt <= attempt.get());
        let oldest = self.earlier.first().unwrap_or(&self.latest);
        *began_before.next().unwrap_or(oldest)
    }

    /// Whether the attempt may belong to an epoch that is later than the latest one here.
    #[must_use]
    pub fn may_lack_epoch_of(&self, attempt: AttemptId) -> bool {
        attempt.get() >= self.latest.end_attempt
    }

    /// Whether these epochs continue `known`, or replace some of it.
    #[must_use]
    pub fn follow(&self, known: &Self) -> bool {
        self.latest.number >= known.latest.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(number: i64, first_attempt: i64) -> Epoch {
        Epoch { number, id: number * 11, first_attempt, end_attempt: first_attempt + 1_000 }
    }

    fn epochs(numbers: &[(i64, i64)]) -> Epochs {
        let all = numbers.iter().map(|(number, first)| epoch(*number, *first)).collect();
        Epochs::new(all).unwrap()
    }

    #[test]
    fn an_attempt_belongs_to_the_last_epoch_that_began_before_it() {
        let epochs = epochs(&[(1, 0), (2, 1_000), (3, 2_000)]);

        let of = |attempt| epochs.of(AttemptId::new(attempt).unwrap()).number;

        assert_eq!([1, 999, 1_000, 1_999, 2_000, i64::MAX].map(of), [1, 1, 2, 2, 3, 3]);
    }

    #[test]
    fn an_attempt_far_beyond_the_latest_epoch_may_be_of_a_later_one() {
        let epochs = epochs(&[(1, 0), (2, 1_000)]);

        let may_lack = |attempt| epochs.may_lack_epoch_of(AttemptId::new(attempt).unwrap());

        assert_eq!([1, 1_999, 2_000, i64::MAX].map(may_lack), [false, false, true, true]);
    }

    #[test]
    fn without_an_epoch_there_is_no_history() {
        assert_eq!(Epochs::new(Vec::new()), None);
    }

    #[test]
    fn a_history_that_lacks_a_known_epoch_does_not_follow_it() {
        let (two, three) = (epochs(&[(1, 0), (2, 9)]), epochs(&[(1, 0), (2, 9), (3, 20)]));

        assert!(three.follow(&two) && two.follow(&two) && !two.follow(&three));
    }
}
