//! The replies of a batch of purchases.

use std::collections::HashMap;
use std::sync::Arc;

use super::rows::{Decided, Written};
use crate::application::ports::{Decision, Settled, StockFacts};
use crate::domain::ids::AttemptId;
use crate::domain::purchase::Outcome;
use crate::infrastructure::persistence::batch::version::next_version;

/// The replies to attempts that were decided and written now.
pub(super) fn of_decided(decided: &Decided<'_>, written: &Written) -> HashMap<AttemptId, Settled> {
    let Decided { buyers, requests, basis, settlement } = *decided;
    let counts = written.by_item();
    let mut replies = HashMap::with_capacity(requests.len());
    for (buyer, request) in buyers.iter().zip(requests) {
        let lines = settlement.decided.get(&request.attempt).cloned().unwrap_or_default();
        let mut facts = StockFacts { generation: basis.generation, ..StockFacts::default() };
        for settled in &lines {
            let item = settled.line.item;
            if let Some((stock, sold)) = counts.get(&item.0) {
                facts.sold.push((item, *sold));
                if sold == stock {
                    facts.sold_out.push(item);
                }
            } else if !basis.remaining.contains_key(&item) {
                facts.sold_out.push(item);
            }
        }
        let bought = settlement.bought.get(&request.buyer).copied().unwrap_or(0);
        let settled = Settled::Now(Decision {
            outcome: Arc::new(Outcome {
                buyer: request.buyer.clone(),
                purchased_at: written.now,
                lines,
            }),
            facts,
            version: next_version(Some(buyer.version), written.now),
            bought: buyer.bought + bought,
        });
        replies.insert(request.attempt, settled);
    }
    replies
}

/// The reply to one request for the attempt: the decision for the first, the stored outcome for others in the same batch.
pub(super) fn next(attempt: AttemptId, replies: &mut HashMap<AttemptId, Settled>) -> Settled {
    let Some(reply) = replies.get_mut(&attempt) else {
        return Settled::Unknown;
    };
    match reply {
        Settled::Now(decision) => {
            let repeat = Settled::Before(Arc::clone(&decision.outcome));
            std::mem::replace(reply, repeat)
        }
        other => other.clone(),
    }
}
