//! Refusals: put refused attempts on record, in batches, with exact totals.
//!
//! Recording costs no I/O. Details are kept up to a bound and then shed; totals never are. The bound is a bucket (a token
//! bucket, as in RFC 2697): it holds a burst whole and fills up slowly, because a storm of refusals lasts, and writing
//! each of its details would take from the buyers what they wait for. A flush that failed is kept
//! as it was and written again under its number before anything newer, so nothing is counted twice or lost.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::ports::{
    Operation, PortError, Refusal, RefusalFlush, RefusalReason, RefusalStore, RefusalTotal,
};
use crate::domain::ids::SaleId;

/// Exact counts: all refusals, and those with details.
type Totals = BTreeMap<(SaleId, Operation, RefusalReason), (i64, i64)>;

/// Collects refusals and writes them.
pub struct Refusals {
    store: Arc<dyn RefusalStore>,
    room: Room,
    gathered: Mutex<Gathered>,
    /// Held while a flush is written; keeps the one that failed.
    flushing: tokio::sync::Mutex<Flushing>,
}

/// Bounds of what is kept beside the totals.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Most details that wait to be written: a burst of so many is kept whole.
    pub burst: usize,
    /// Details for which a flush makes room.
    pub refill: usize,
}

struct Gathered {
    totals: Totals,
    details: Vec<Refusal>,
    /// Details that may still be kept.
    room: usize,
}

#[derive(Default)]
struct Flushing {
    last_sequence: i64,
    unwritten: Option<RefusalFlush>,
}

impl Refusals {
    /// Keeps as many details as there is room for.
    #[must_use]
    pub fn new(store: Arc<dyn RefusalStore>, room: Room) -> Self {
        let gathered = Gathered { totals: Totals::new(), details: Vec::new(), room: room.burst };
        Self {
            store,
            room,
            gathered: Mutex::new(gathered),
            flushing: tokio::sync::Mutex::default(),
        }
    }

    /// Takes a refusal in.
    pub fn record(&self, refusal: Refusal) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        let detailed = gathered.room > 0;
        let key = (refusal.sale, refusal.operation, refusal.reason);
        let (total, with_details) = gathered.totals.entry(key).or_default();
        *total += 1;
        if detailed {
            *with_details += 1;
            gathered.room -= 1;
            gathered.details.push(refusal);
        }
    }

    /// Writes what was gathered; on failure everything is kept for the next time.
    pub async fn flush(&self) -> Result<(), PortError> {
        let mut flushing = self.flushing.lock().await;
        loop {
            let next =
                flushing.unwritten.take().or_else(|| self.gather(flushing.last_sequence + 1));
            let Some(flush) = next else {
                self.make_room();
                return Ok(());
            };
            flushing.last_sequence = flush.sequence;
            // Kept before the attempt: if this future is dropped in the middle, the flush is still there.
            let flush = flushing.unwritten.insert(flush);
            self.store.append(flush).await?;
            flushing.unwritten = None;
        }
    }

    fn gather(&self, sequence: i64) -> Option<RefusalFlush> {
        let (totals, details) = {
            let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
            (std::mem::take(&mut gathered.totals), std::mem::take(&mut gathered.details))
        };
        if totals.is_empty() {
            return None;
        }
        let totals = totals.into_iter().map(|((sale, operation, reason), counts)| RefusalTotal {
            sale,
            operation,
            reason,
            total: counts.0,
            detailed: counts.1,
        });
        Some(RefusalFlush { sequence, totals: totals.collect(), details })
    }

    /// Never more than a burst, with those that wait.
    fn make_room(&self) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        let most = self.room.burst.saturating_sub(gathered.details.len());
        gathered.room = (gathered.room + self.room.refill).min(most);
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use mockall::Sequence;

    use super::*;
    use crate::application::ports::{MockRefusalStore, PortError};

    const ROOMY: Room = Room { burst: 10, refill: 10 };

    fn refusal(reason: RefusalReason) -> Refusal {
        Refusal {
            sale: SaleId::new(1).unwrap(),
            operation: Operation::Checkout,
            reason,
            buyer: None,
            item: None,
            attempt: None,
            refused_at: DateTime::UNIX_EPOCH,
        }
    }

    #[tokio::test]
    async fn totals_are_exact_when_details_are_shed() {
        let mut store = MockRefusalStore::new();
        store
            .expect_append()
            .once()
            .withf(|flush| {
                flush.details.len() == 2
                    && flush.totals.iter().map(|t| (t.total, t.detailed)).eq([(5, 2)])
            })
            .returning(|_| Ok(()));
        let refusals = Refusals::new(Arc::new(store), Room { burst: 2, refill: 0 });

        for _ in 0..5 {
            refusals.record(refusal(RefusalReason::ItemSoldOut));
        }

        refusals.flush().await.unwrap();
    }

    #[tokio::test]
    async fn a_burst_is_kept_whole_and_after_it_each_flush_makes_a_little_room() {
        let mut store = MockRefusalStore::new();
        let mut order = Sequence::new();
        for kept in [3, 1, 1] {
            store
                .expect_append()
                .once()
                .in_sequence(&mut order)
                .withf(move |flush| flush.details.len() == kept && flush.totals[0].total == 5)
                .returning(|_| Ok(()));
        }
        let refusals = Refusals::new(Arc::new(store), Room { burst: 3, refill: 1 });

        for _ in 0..3 {
            for _ in 0..5 {
                refusals.record(refusal(RefusalReason::ItemSoldOut));
            }
            refusals.flush().await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_failed_flush_is_repeated_unchanged_under_its_number_before_anything_newer() {
        let mut store = MockRefusalStore::new();
        let mut order = Sequence::new();
        let mut expect = |sequence: i64, fails: bool| {
            store
                .expect_append()
                .once()
                .in_sequence(&mut order)
                .withf(move |flush| flush.sequence == sequence && flush.details.len() == 1)
                .returning(
                    move |_| {
                        if fails { Err(PortError::Overloaded("test")) } else { Ok(()) }
                    },
                );
        };
        expect(1, true);
        expect(1, false);
        expect(2, false);
        let refusals = Refusals::new(Arc::new(store), ROOMY);

        refusals.record(refusal(RefusalReason::Ended));
        refusals.flush().await.unwrap_err();
        refusals.record(refusal(RefusalReason::Ended));

        refusals.flush().await.unwrap();
    }

    #[tokio::test]
    async fn nothing_gathered_writes_nothing() {
        let refusals = Refusals::new(Arc::new(MockRefusalStore::new()), ROOMY);

        refusals.flush().await.unwrap();
    }
}
