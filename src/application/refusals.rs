//! Refusals: record refused attempts in batches, with exact totals.
//!
//! Recording costs no I/O. Totals are always kept; details are dropped beyond a budget. The budget is a token bucket (as in
//! RFC 2697): it keeps a burst whole and refills slowly, because a storm of refusals lasts, and writing each detail would
//! slow buyers down. A failed flush is kept unchanged and repeated under its number before anything newer, so nothing is
//! counted twice or lost.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::ports::{
    AnsweredRequest, CurrentRequest, Operation, PortError, Refusal, RefusalFlush, RefusalReason,
    RefusalStore, RefusalTotal,
};
use crate::domain::ids::{AttemptId, RequestId, SaleId};

/// Exact counts: all refusals, and the refusals with details.
type Totals = BTreeMap<(SaleId, Operation, RefusalReason), (i64, i64)>;

/// Collects refusals and writes them.
pub struct Refusals {
    store: Arc<dyn RefusalStore>,
    budget: DetailBudget,
    current_request: Option<Arc<dyn CurrentRequest>>,
    pending: Mutex<Pending>,
    /// Locked while a flush is written; contains the flush that failed.
    flushing: tokio::sync::Mutex<Flushing>,
}

/// The token bucket of details.
#[derive(Debug, Clone, Copy)]
pub struct DetailBudget {
    /// Size of the bucket: the maximum number of unwritten details.
    pub burst: usize,
    /// Tokens that each flush adds.
    pub refill: usize,
}

struct Pending {
    totals: Totals,
    details: Vec<Refusal>,
    answered: Vec<AnsweredRequest>,
    /// Number of further details to keep.
    tokens: usize,
}

#[derive(Default)]
struct Flushing {
    last_sequence: i64,
    unwritten: Option<RefusalFlush>,
}

impl Refusals {
    /// Keeps details within this budget.
    #[must_use]
    pub fn new(store: Arc<dyn RefusalStore>, budget: DetailBudget) -> Self {
        let pending = Pending {
            totals: Totals::new(),
            details: Vec::new(),
            answered: Vec::new(),
            tokens: budget.burst,
        };
        Self {
            store,
            budget,
            current_request: None,
            pending: Mutex::new(pending),
            flushing: tokio::sync::Mutex::default(),
        }
    }

    /// Details name the request that this knows.
    #[must_use]
    pub fn of_requests(self, current_request: Arc<dyn CurrentRequest>) -> Self {
        Self { current_request: Some(current_request), ..self }
    }

    /// Records a refusal in memory.
    pub fn record(&self, mut refusal: Refusal) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let detailed = pending.tokens > 0;
        let key = (refusal.sale, refusal.operation, refusal.reason);
        let (total, with_details) = pending.totals.entry(key).or_default();
        *total += 1;
        if detailed {
            *with_details += 1;
            pending.tokens -= 1;
            refusal.request = refusal.request.or_else(|| self.current_request());
            pending.details.push(refusal);
        }
    }

    /// Records in memory which request was answered with the stored outcome of an attempt, so that it is found by the request's id.
    pub fn record_answered(&self, sale: SaleId, attempt: AttemptId) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.tokens == 0 {
            return;
        }
        if let Some(request) = self.current_request() {
            pending.tokens -= 1;
            pending.answered.push(AnsweredRequest { sale, attempt, request });
        }
    }

    fn current_request(&self) -> Option<RequestId> {
        self.current_request.as_ref()?.id()
    }

    /// Writes all recorded refusals; after a failure they are kept for the next flush.
    pub async fn flush(&self) -> Result<(), PortError> {
        let mut flushing = self.flushing.lock().await;
        loop {
            let next =
                flushing.unwritten.take().or_else(|| self.take_pending(flushing.last_sequence + 1));
            let Some(flush) = next else {
                self.refill();
                return Ok(());
            };
            flushing.last_sequence = flush.sequence;
            // Stored before the attempt, so that the flush survives if this future is dropped.
            let flush = flushing.unwritten.insert(flush);
            self.store.append(flush).await?;
            flushing.unwritten = None;
        }
    }

    fn take_pending(&self, sequence: i64) -> Option<RefusalFlush> {
        let (totals, details, answered) = {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            let Pending { totals, details, answered, .. } = &mut *pending;
            (std::mem::take(totals), std::mem::take(details), std::mem::take(answered))
        };
        if totals.is_empty() && answered.is_empty() {
            return None;
        }
        let totals = totals.into_iter().map(|((sale, operation, reason), counts)| RefusalTotal {
            sale,
            operation,
            reason,
            total: counts.0,
            detailed: counts.1,
        });
        Some(RefusalFlush { sequence, totals: totals.collect(), details, answered })
    }

    /// Adds tokens, so that tokens and unwritten details never exceed the burst.
    fn refill(&self) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let unwritten = pending.details.len() + pending.answered.len();
        let max = self.budget.burst.saturating_sub(unwritten);
        pending.tokens = (pending.tokens + self.budget.refill).min(max);
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use mockall::Sequence;

    use super::*;
    use crate::application::ports::{MockCurrentRequest, MockRefusalStore, PortError};

    const LARGE: DetailBudget = DetailBudget { burst: 10, refill: 10 };

    fn refusal(reason: RefusalReason) -> Refusal {
        Refusal {
            sale: SaleId::new(1).unwrap(),
            operation: Operation::Checkout,
            reason,
            buyer: None,
            item: None,
            attempt: None,
            refused_at: DateTime::UNIX_EPOCH,
            request: None,
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
        let refusals = Refusals::new(Arc::new(store), DetailBudget { burst: 2, refill: 0 });

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
        let refusals = Refusals::new(Arc::new(store), DetailBudget { burst: 3, refill: 1 });

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
        let refusals = Refusals::new(Arc::new(store), LARGE);

        refusals.record(refusal(RefusalReason::Ended));
        refusals.flush().await.unwrap_err();
        refusals.record(refusal(RefusalReason::Ended));

        refusals.flush().await.unwrap();
    }

    #[tokio::test]
    async fn a_flush_without_refusals_writes_nothing() {
        let refusals = Refusals::new(Arc::new(MockRefusalStore::new()), LARGE);

        refusals.flush().await.unwrap();
    }

    #[tokio::test]
    async fn details_name_the_request_and_so_do_outcomes_within_the_same_budget() {
        let mut store = MockRefusalStore::new();
        let request = || RequestId::parse("r-1");
        store
            .expect_append()
            .withf(move |flush| {
                let named = flush.details.iter().filter(|one| one.request == request());
                (named.count(), flush.answered.len(), flush.totals[0].total) == (1, 1, 2)
            })
            .once()
            .returning(|_| Ok(()));
        let mut current = MockCurrentRequest::new();
        current.expect_id().returning(request);
        let refusals = Refusals::new(Arc::new(store), DetailBudget { burst: 2, refill: 0 });
        let refusals = refusals.of_requests(Arc::new(current));

        refusals.record(refusal(RefusalReason::Ended));
        refusals.record_answered(SaleId::new(1).unwrap(), AttemptId::FIRST);
        refusals.record_answered(SaleId::new(1).unwrap(), AttemptId::FIRST);
        refusals.record(refusal(RefusalReason::Ended));

        refusals.flush().await.unwrap();
    }
}
