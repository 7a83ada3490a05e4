//! Generations of scopes in this process: a change begins the next one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::application::ports::CacheScope;

/// Maximum number of scopes with a generation of their own. Beyond it everything is forgotten at once.
const MAX_SCOPES: usize = 50_000;
/// A read has ended this long after it began: its page is not stored any more.
const LONGEST_READ: Duration = Duration::from_mins(5);

/// The generation of a scope, and the oldest one whose pages may still be shown while they are read again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Generation {
    pub(crate) current: u64,
    pub(crate) oldest: u64,
}

impl Generation {
    /// The generation of what has both.
    fn and(self, other: Self) -> Self {
        Self { current: self.current.max(other.current), oldest: self.oldest.max(other.oldest) }
    }
}

/// All generations.
#[derive(Debug)]
pub(crate) struct Generations {
    known: Mutex<Known>,
    /// A generation may be forgotten after this time: no page of those before it is alive.
    keep: Duration,
}

#[derive(Debug, Default)]
struct Known {
    last: u64,
    all: Generation,
    scopes: HashMap<CacheScope, (Generation, Instant)>,
}

impl Generations {
    /// For pages that live for at most this time.
    pub(crate) fn of_pages_that_live(longest: Duration) -> Self {
        Self { known: Mutex::default(), keep: longest + LONGEST_READ }
    }

    /// The generation of a scope now.
    pub(crate) fn of(&self, scope: &CacheScope) -> Generation {
        let known = self.lock();
        match known.scopes.get(scope) {
            Some((own, _)) => own.and(known.all),
            None => known.all,
        }
    }

    /// Begins the next generation of a scope; pages of those before it may still be shown while they are read again.
    pub(crate) fn outdate(&self, scope: &CacheScope) {
        self.begin(scope, |number, own| Generation { current: number, ..own });
    }

    /// Begins the next generation of a scope; no page of those before it is shown any more.
    pub(crate) fn forget(&self, scope: &CacheScope) {
        self.begin(scope, |number, _| Generation { current: number, oldest: number });
    }

    fn begin(&self, scope: &CacheScope, next: impl Fn(u64, Generation) -> Generation) {
        let mut known = self.lock();
        if known.scopes.len() >= MAX_SCOPES && !known.scopes.contains_key(scope) {
            let keep = self.keep;
            known.scopes.retain(|_, (_, since)| since.elapsed() < keep);
            if known.scopes.len() >= MAX_SCOPES {
                known.forget_all();
                return;
            }
        }
        known.last += 1;
        let (number, all) = (known.last, known.all);
        let (own, since) = known.scopes.entry(scope.clone()).or_insert((all, Instant::now()));
        (*own, *since) = (next(number, own.and(all)), Instant::now());
    }

    /// Begins the next generation of everything.
    pub(crate) fn forget_all(&self) {
        self.lock().forget_all();
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn forget_all(&mut self) {
        self.last += 1;
        self.all = Generation { current: self.last, oldest: self.last };
        // Their generations are older than the one that begins now.
        self.scopes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::SaleId;

    fn sale(number: i64) -> CacheScope {
        CacheScope::Sale(SaleId::new(number).unwrap())
    }

    fn generations() -> Generations {
        Generations::of_pages_that_live(Duration::from_secs(1))
    }

    #[test]
    fn a_change_begins_the_next_generation_of_its_scope_alone() {
        let generations = generations();
        let before = (generations.of(&sale(1)), generations.of(&sale(2)));

        generations.forget(&sale(1));

        let after = generations.of(&sale(1));
        assert!(after.current > before.0.current);
        assert_eq!((after.oldest, generations.of(&sale(2))), (after.current, before.1));
    }

    #[test]
    fn what_is_outdated_may_be_shown_until_it_is_forgotten() {
        let generations = generations();
        generations.forget(&sale(1));
        let oldest = generations.of(&sale(1)).oldest;

        for _ in 0..3 {
            generations.outdate(&sale(1));
        }

        let outdated = generations.of(&sale(1));
        assert_eq!((outdated.oldest, outdated.current), (oldest, oldest + 3));
        generations.forget_all();
        assert!(generations.of(&sale(1)).oldest > outdated.current);
    }

    #[test]
    fn what_forgets_everything_forgets_scopes_too_and_none_gets_an_older_generation_again() {
        let generations = generations();
        generations.forget(&sale(1));
        let before = generations.of(&sale(1)).current;

        generations.forget_all();
        let all = generations.of(&sale(1)).current;
        generations.forget(&sale(1));

        assert!(before < all && all < generations.of(&sale(1)).current);
    }

    #[test]
    fn scopes_are_bounded_and_beyond_that_everything_is_forgotten() {
        let generations = generations();
        let bound = i64::try_from(MAX_SCOPES).unwrap();
        for number in 1..=bound {
            generations.forget(&sale(number));
        }
        let before = generations.of(&sale(1)).current;

        generations.forget(&sale(bound + 1));

        assert!(generations.lock().scopes.is_empty());
        assert!(generations.of(&sale(1)).current > before);
        assert!(generations.of(&sale(bound + 1)).current > before);
    }
}
