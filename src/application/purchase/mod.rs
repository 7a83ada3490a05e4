//! Purchase: turn a checkout's code into sold items, once.
//!
//! A forged code is rejected without I/O. A genuine one is never refused from memory: the ledger decides it or returns
//! the first decision. The lock per code only keeps concurrent repeats out of the queue of purchases: a repeat that finds it
//! held gets the stored outcome, or waits for it.

mod tests;

use std::sync::Arc;

use super::catalogue::Item;
use super::checkout::RequestedLine;
use super::codes::Codes;
use super::ports::{
    BusinessMetrics, CodeLock, CommittedTotals, Decision, Done, HintCache, Keyed, KeyedRequest,
    Ledger, Operation, PortError, PurchaseAnswer, ReadCache, Refusal, RefusalReason, Settle,
    Settled, SoldOutEvents,
};
use super::refusal_facts::{RefusalFacts, StartFacts};
use super::refusals::Refusals;
use super::sale_cache::{CachedSale, SaleCache};
use super::turns::{Turn, Turns};
use crate::domain::checkout::{BuyerTotals, Line};
use crate::domain::code::CodeClaim;
use crate::domain::ids::{AttemptId, BuyerId, ItemNo, SaleId};
use crate::domain::purchase::{LineOutcome, Outcome, Verdict};
use crate::domain::terms::{CheckoutTag, Declined, PurchaseTerms};

/// Items are numbered from 1.
const NO_ITEM: ItemNo = ItemNo(0);

/// The purchase of the checkout behind a genuine code. [`Purchase::verify_code`] creates it.
#[derive(Debug, Clone)]
pub struct PurchaseCommand {
    sale: SaleId,
    attempt: AttemptId,
    buyer: Option<BuyerId>,
    terms: Option<Arc<PurchaseTerms>>,
}

impl PurchaseCommand {
    /// The purchase on behalf of this buyer: it must be the buyer's own checkout. `None`: anyone's.
    #[must_use]
    pub fn on_behalf_of(self, buyer: Option<BuyerId>) -> Self {
        Self { buyer, ..self }
    }
}

/// The terms of a purchase, as a client names them.
#[derive(Debug, Clone, Default)]
pub struct RequestedTerms {
    /// The checkout has one of these tags.
    pub tags: Option<Vec<CheckoutTag>>,
    /// The checkout has exactly these lines; no item appears twice.
    pub lines: Option<Vec<RequestedLine>>,
    /// Every line is sold, or none.
    pub all_or_nothing: bool,
}

/// The answer to a purchase.
#[derive(Debug)]
pub enum Purchased {
    /// The purchase is decided.
    Settled {
        /// The outcome.
        outcome: Arc<Outcome>,
        /// The items of the outcome.
        items: Vec<Item>,
        /// Whether an earlier call decided it.
        replayed: bool,
    },
    /// The code is genuine, but the checkout does not exist.
    UnknownCode,
    /// The code belongs to another buyer than the one who asks.
    OtherBuyer,
    /// The purchase is refused; this is not stored.
    Refused {
        /// Why.
        reason: RefusalReason,
        /// What else is known of it.
        facts: RefusalFacts,
    },
    /// The terms are not met; this is not stored.
    Declined {
        /// Which of them.
        declined: Declined,
        /// The items of the lines that it names.
        items: Vec<Item>,
    },
}

/// The purchase use case.
pub struct Purchase {
    ports: PurchasePorts,
}

/// The ports of [`Purchase`].
pub struct PurchasePorts {
    /// Sales and their sold-out items.
    pub sale_cache: Arc<SaleCache>,
    /// Decides purchases.
    pub ledger: Arc<dyn Ledger>,
    /// Blocks concurrent repeats.
    pub lock: Arc<dyn CodeLock>,
    /// Lets repeats wait for the first.
    pub turns: Turns,
    /// Totals and stock that all instances share.
    pub hints: Arc<dyn HintCache>,
    /// Notifies other instances.
    pub sold_out_events: Arc<dyn SoldOutEvents>,
    /// Verifies codes.
    pub codes: Arc<Codes>,
    /// Records refusals.
    pub refusals: Arc<Refusals>,
    /// Counts answers.
    pub business_metrics: Arc<dyn BusinessMetrics>,
    /// Forgets what a purchase changes, if reads are cached.
    pub read_cache: Option<Arc<dyn ReadCache>>,
}

impl Purchase {
    /// Creates the use case on these ports.
    #[must_use]
    pub fn new(ports: PurchasePorts) -> Self {
        Self { ports }
    }

    /// Checks the code's signature. `None` if it is forged, mistyped, or of a removed key.
    pub async fn verify_code(
        &self,
        claim: CodeClaim,
    ) -> Result<Option<PurchaseCommand>, PortError> {
        if !self.ports.codes.is_genuine(&claim).await? {
            self.ports.business_metrics.purchase(PurchaseAnswer::UnknownCode);
            return Ok(None);
        }
        let CodeClaim { sale, attempt, .. } = claim;
        Ok(Some(PurchaseCommand { sale, attempt, buyer: None, terms: None }))
    }

    /// Adds terms to a purchase.
    pub async fn with_terms(
        &self,
        command: PurchaseCommand,
        terms: RequestedTerms,
    ) -> Result<PurchaseCommand, PortError> {
        let RequestedTerms { tags, lines, all_or_nothing } = terms;
        if tags.is_none() && lines.is_none() && !all_or_nothing {
            return Ok(command);
        }
        let lines = match lines {
            Some(lines) => Some(self.numbered(command.sale, lines).await?),
            None => None,
        };
        let terms = PurchaseTerms { tags, lines, all_or_nothing };
        Ok(PurchaseCommand { terms: Some(Arc::new(terms)), ..command })
    }

    /// The lines by item numbers. An item that the sale does not have is in no checkout, and neither is [`NO_ITEM`].
    async fn numbered(
        &self,
        sale: SaleId,
        lines: Vec<RequestedLine>,
    ) -> Result<Vec<Line>, PortError> {
        let sale_cache = &self.ports.sale_cache;
        let catalogue = match sale_cache.find(sale).await? {
            Some(cached) => {
                let items = lines.iter().map(|line| &line.item);
                Some(sale_cache.catalogue(&cached, items).await?)
            }
            None => None,
        };
        let number = |line: &RequestedLine| catalogue.as_ref()?.find(&line.item);
        let numbered = lines
            .iter()
            .map(|line| Line { item: number(line).unwrap_or(NO_ITEM), quantity: line.quantity });
        Ok(numbered.collect())
    }

    /// Settles the checkout behind the code, or returns the earlier outcome. Durable before it returns.
    pub async fn execute(&self, command: PurchaseCommand) -> Result<Purchased, PortError> {
        let PurchaseCommand { sale, attempt, buyer, terms } = command;
        let known = self.ports.sale_cache.find_cached(sale);
        let request = Settle { sale, attempt, buyer: buyer.clone(), terms };
        let settle = async { self.ports.ledger.settle(request).await };
        match self.in_turn((sale, attempt), settle).await? {
            Turn::Run(settled) => self.answer((sale, known.as_deref()), attempt, settled).await,
            Turn::Stored(outcome) if is_others(&outcome, buyer.as_ref()) => Ok(self.other_buyer()),
            Turn::Stored(outcome) => self.settled(sale, Arc::new(outcome), true).await,
            Turn::InProgress => Ok(self.refuse(sale, attempt, RefusalReason::InProgress)),
        }
    }

    /// Settles like [`Self::execute`], once for each key. The lock on the code also blocks repeats with the same key; one for
    /// another code finds the key in the ledger.
    pub async fn execute_keyed(
        &self,
        command: PurchaseCommand,
        key: KeyedRequest,
    ) -> Result<Keyed<Purchased, Done>, PortError> {
        let PurchaseCommand { sale, attempt, buyer, terms } = command;
        let known = self.ports.sale_cache.find_cached(sale);
        let request = Settle { sale, attempt, buyer: buyer.clone(), terms };
        let settle = async { self.ports.ledger.settle_keyed(request, key).await };
        let purchased = match self.in_turn((sale, attempt), settle).await? {
            Turn::Run(keyed) => match keyed.into_new() {
                Ok(settled) => self.answer((sale, known.as_deref()), attempt, settled).await?,
                Err(keyed) => return Ok(keyed),
            },
            Turn::Stored(outcome) if is_others(&outcome, buyer.as_ref()) => self.other_buyer(),
            Turn::Stored(outcome) => self.settled(sale, Arc::new(outcome), true).await?,
            Turn::InProgress => self.refuse(sale, attempt, RefusalReason::InProgress),
        };
        Ok(Keyed::New(purchased))
    }

    /// Runs `settle` while holding the lock on the code, unless another call holds it: then waits for the outcome.
    async fn in_turn<T>(
        &self,
        (sale, attempt): (SaleId, AttemptId),
        settle: impl Future<Output = Result<T, PortError>>,
    ) -> Result<Turn<T, Outcome>, PortError> {
        let PurchasePorts { lock, ledger, turns, .. } = &self.ports;
        let turn =
            turns.next(|| lock.acquire(sale, attempt), || ledger.outcome(sale, attempt)).await;
        let settled = match turn {
            Ok(Turn::Run(lease)) => {
                let settled = settle.await;
                if let Some(lease) = lease {
                    lock.release(lease);
                }
                settled.map(Turn::Run)
            }
            Ok(Turn::Stored(outcome)) => Ok(Turn::Stored(outcome)),
            Ok(Turn::InProgress) => Ok(Turn::InProgress),
            Err(error) => Err(error),
        };
        if settled.is_err() {
            self.refuse(sale, attempt, RefusalReason::Unavailable);
        }
        settled
    }

    /// `known` is the sale as it was in memory before the settlement.
    async fn answer(
        &self,
        (sale, known): (SaleId, Option<&CachedSale>),
        attempt: AttemptId,
        settled: Settled,
    ) -> Result<Purchased, PortError> {
        match settled {
            Settled::Now(decision) => {
                let outcome = Arc::clone(&decision.outcome);
                if let Some(known) = known {
                    known.apply_stock(&decision.facts);
                }
                self.publish(sale, decision).await;
                if outcome.failed().next().is_some() {
                    self.ports.refusals.record_answered(sale, attempt);
                }
                self.settled(sale, outcome, false).await
            }
            Settled::Before(outcome) => self.settled(sale, outcome, true).await,
            Settled::Unknown => {
                self.ports.business_metrics.purchase(PurchaseAnswer::UnknownCode);
                Ok(Purchased::UnknownCode)
            }
            Settled::OtherBuyer => Ok(self.other_buyer()),
            Settled::Ended => Ok(self.refuse(sale, attempt, RefusalReason::Ended)),
            Settled::NotStarted => {
                self.refuse(sale, attempt, RefusalReason::NotStarted);
                let start = known.and_then(|known| StartFacts::of(&self.ports.sale_cache, known));
                let facts = RefusalFacts { limit: None, start };
                Ok(Purchased::Refused { reason: RefusalReason::NotStarted, facts })
            }
            Settled::Empty => Ok(self.refuse(sale, attempt, RefusalReason::Empty)),
            Settled::Declined(declined) => self.declined((sale, attempt), declined).await,
        }
    }

    async fn declined(
        &self,
        (sale, attempt): (SaleId, AttemptId),
        declined: Declined,
    ) -> Result<Purchased, PortError> {
        let (reason, numbers) = match &declined {
            Declined::OtherTag | Declined::OtherLines => (RefusalReason::Changed, Vec::new()),
            Declined::Unavailable(lines) => {
                let failed = lines.iter().filter(|line| line.outcome != LineOutcome::Sold);
                (RefusalReason::ItemsUnavailable, failed.map(|line| line.line.item).collect())
            }
        };
        self.refuse(sale, attempt, reason);
        let items = self.ports.sale_cache.items_by_number(sale, &numbers).await?;
        Ok(Purchased::Declined { declined, items })
    }

    /// Updates the caches with a committed decision. No failure here can change it.
    async fn publish(&self, sale: SaleId, decision: Decision) {
        let Decision { outcome, mut facts, version, bought } = decision;
        self.ports.business_metrics.sold(outcome.total_purchased());
        if !facts.sold_out.is_empty() {
            self.ports.sold_out_events.publish(sale, &facts.sold_out);
        }
        let Ok(Some(cached)) = self.ports.sale_cache.find(sale).await else {
            return;
        };
        cached.mark_sold(self.ports.sale_cache.clock().monotonic());
        let totals = BuyerTotals { lines: Vec::new(), bought };
        // Totals far below the limit refuse no checkout. Failed lines leave the totals, so older totals could refuse.
        if totals.is_near_limit(cached.sale.buyer_limit) || outcome.failed().next().is_some() {
            self.ports.hints.update_totals(CommittedTotals {
                sale: Arc::clone(&cached.sale),
                buyer: outcome.buyer.clone(),
                totals,
                version,
            });
        }
        // Items with pieces left refuse no checkout either.
        facts.sold.retain(|(item, _)| facts.sold_out.contains(item));
        if !facts.sold_out.is_empty() {
            self.ports.hints.update_stock(&cached.sale, facts);
        }
    }

    /// The stored outcome of a purchase.
    pub async fn replay(&self, sale: SaleId, attempt: AttemptId) -> Result<Purchased, PortError> {
        match self.ports.ledger.outcome(sale, attempt).await? {
            Some(outcome) => self.settled(sale, Arc::new(outcome), true).await,
            None => Ok(Purchased::UnknownCode),
        }
    }

    async fn settled(
        &self,
        sale: SaleId,
        outcome: Arc<Outcome>,
        replayed: bool,
    ) -> Result<Purchased, PortError> {
        // Before the answer, and for a repeat too: the instance that sold it may have died before this.
        if let Some(read_cache) = &self.ports.read_cache {
            read_cache.purchased(&outcome.buyer, sale).await;
        }
        let numbers: Vec<ItemNo> = outcome.lines.iter().map(|line| line.line.item).collect();
        let items = self.ports.sale_cache.items_by_number(sale, &numbers).await?;
        self.ports.business_metrics.purchase(match outcome.verdict() {
            _ if replayed => PurchaseAnswer::Replayed,
            Verdict::Bought => PurchaseAnswer::Bought,
            Verdict::NothingLeft => PurchaseAnswer::SoldOut,
            Verdict::LimitReached => PurchaseAnswer::BuyerLimit,
        });
        Ok(Purchased::Settled { outcome, items, replayed })
    }

    fn other_buyer(&self) -> Purchased {
        self.ports.business_metrics.purchase(PurchaseAnswer::OtherBuyer);
        Purchased::OtherBuyer
    }

    fn refuse(&self, sale: SaleId, attempt: AttemptId, reason: RefusalReason) -> Purchased {
        if let Some(reading) = self.ports.sale_cache.clock().database() {
            self.ports.refusals.record(Refusal {
                sale,
                operation: Operation::Purchase,
                reason,
                buyer: None,
                item: None,
                attempt: Some(attempt),
                refused_at: reading.at,
                request: None,
            });
        }
        self.ports.business_metrics.refused(reason);
        self.ports.business_metrics.purchase(match reason {
            RefusalReason::Ended => PurchaseAnswer::Ended,
            RefusalReason::NotStarted => PurchaseAnswer::NotStarted,
            RefusalReason::InProgress => PurchaseAnswer::InProgress,
            RefusalReason::BuyerLimit => PurchaseAnswer::BuyerLimit,
            RefusalReason::Empty => PurchaseAnswer::Empty,
            RefusalReason::Changed => PurchaseAnswer::Changed,
            RefusalReason::ItemsUnavailable => PurchaseAnswer::ItemsUnavailable,
            RefusalReason::ItemSoldOut
            | RefusalReason::SaleSoldOut
            | RefusalReason::Closed
            | RefusalReason::ItemNotFound => PurchaseAnswer::SoldOut,
            RefusalReason::Unavailable => PurchaseAnswer::Unavailable,
        });
        Purchased::Refused { reason, facts: RefusalFacts::default() }
    }
}

/// Whether an outcome belongs to another buyer than the one who asks.
fn is_others(outcome: &Outcome, buyer: Option<&BuyerId>) -> bool {
    buyer.is_some_and(|buyer| *buyer != outcome.buyer)
}
