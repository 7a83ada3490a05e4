//! Purchase: turn a checkout's code into sold items, once.
//!
//! A forged code ends here without I/O. A genuine one is never refused from memory: the ledger decides it or tells what was
//! decided. The lock per code only keeps a storm of repeats away from PostgreSQL.

use std::sync::Arc;

use super::board::Board;
use super::catalogue::Item;
use super::ports::{
    CodeLock, CodeSigner, Decision, ItemReader, KnownStanding, Ledger, Meter, News, Operation,
    PortError, PurchaseAnswer, Refusal, RefusalReason, Settled, SharedMemory,
};
use super::refusals::Refusals;
use crate::domain::checkout::Standing;
use crate::domain::code::CodeClaim;
use crate::domain::ids::{AttemptId, ItemNo, SaleId};
use crate::domain::purchase::{Outcome, Verdict};

/// What the buyer asks for.
#[derive(Debug, Clone, Copy)]
pub struct PurchaseCommand {
    /// The code, as it was read; nobody has checked its signature.
    pub claim: CodeClaim,
}

/// The answer to a purchase.
#[derive(Debug)]
pub enum Purchased {
    /// What was decided.
    Settled {
        /// The decision.
        outcome: Arc<Outcome>,
        /// The items it names.
        items: Vec<Item>,
        /// Whether it had been decided before.
        replayed: bool,
    },
    /// Forged, mistyped, or of a key that was removed.
    UnknownCode,
    /// The sale refuses it; this is not stored.
    Refused(RefusalReason),
}

/// Sells.
pub struct Purchase {
    ports: PurchasePorts,
}

/// Everything that [`Purchase`] needs.
pub struct PurchasePorts {
    /// What is known of sales.
    pub board: Arc<Board>,
    /// Decides.
    pub ledger: Arc<dyn Ledger>,
    /// Keeps repeats away.
    pub lock: Arc<dyn CodeLock>,
    /// Names the items.
    pub items: Arc<dyn ItemReader>,
    /// Remembers totals.
    pub memory: Arc<dyn SharedMemory>,
    /// Tells the other instances.
    pub news: Arc<dyn News>,
    /// Tells forged codes.
    pub signer: Arc<dyn CodeSigner>,
    /// Records refusals.
    pub refusals: Arc<Refusals>,
    /// Counts.
    pub meter: Arc<dyn Meter>,
}

impl Purchase {
    /// Sells with these ports.
    #[must_use]
    pub fn new(ports: PurchasePorts) -> Self {
        Self { ports }
    }

    /// Settles the checkout behind the code, or tells what was settled before. Durable before it answers.
    pub async fn execute(&self, command: PurchaseCommand) -> Result<Purchased, PortError> {
        let CodeClaim { sale, attempt, .. } = command.claim;
        if !self.ports.signer.is_genuine(&command.claim) {
            self.ports.meter.purchase(PurchaseAnswer::UnknownCode);
            return Ok(Purchased::UnknownCode);
        }
        let lease = match self.ports.lock.acquire(sale, attempt).await {
            Ok(Some(lease)) => Some(lease),
            Ok(None) => return self.told_by_the_first(sale, attempt).await,
            // Correctness does not rest on the lock: without Redis the ledger alone keeps a code to one outcome.
            Err(_) => None,
        };
        let settled = self.ports.ledger.settle(sale, attempt).await;
        if let Some(lease) = lease {
            self.ports.lock.release(lease);
        }
        match settled {
            Ok(settled) => self.answer(sale, attempt, settled).await,
            Err(error) => {
                self.refuse(sale, attempt, RefusalReason::Unavailable);
                Err(error)
            }
        }
    }

    /// The first purchase of this code runs for longer than a repeat waits: perhaps its outcome is there by now.
    async fn told_by_the_first(
        &self,
        sale: SaleId,
        attempt: AttemptId,
    ) -> Result<Purchased, PortError> {
        match self.ports.ledger.outcome(sale, attempt).await? {
            Some(outcome) => self.settled(sale, Arc::new(outcome), true).await,
            None => Ok(self.refuse(sale, attempt, RefusalReason::InProgress)),
        }
    }

    async fn answer(
        &self,
        sale: SaleId,
        attempt: AttemptId,
        settled: Settled,
    ) -> Result<Purchased, PortError> {
        match settled {
            Settled::Now(decision) => {
                let outcome = Arc::clone(&decision.outcome);
                self.spread(sale, decision).await;
                self.settled(sale, outcome, false).await
            }
            Settled::Before(outcome) => self.settled(sale, outcome, true).await,
            Settled::Unknown => {
                self.ports.meter.purchase(PurchaseAnswer::UnknownCode);
                Ok(Purchased::UnknownCode)
            }
            Settled::Ended => Ok(self.refuse(sale, attempt, RefusalReason::Ended)),
            Settled::NotStarted => Ok(self.refuse(sale, attempt, RefusalReason::NotStarted)),
        }
    }

    /// Tells everyone who is quicker for knowing. The decision is committed: nothing here can change it.
    async fn spread(&self, sale: SaleId, decision: Decision) {
        let Decision { outcome, facts, version, bought } = decision;
        self.ports.meter.sold(outcome.total_purchased());
        self.ports.board.learn(sale, &facts);
        if !facts.sold_out.is_empty() {
            self.ports.news.tell(sale, &facts);
        }
        let Ok(Some(known)) = self.ports.board.find(sale).await else {
            return;
        };
        self.ports.memory.remember_standing(KnownStanding {
            sale: Arc::clone(&known.sale),
            buyer: outcome.buyer.clone(),
            standing: Standing { lines: Vec::new(), bought },
            version,
        });
        self.ports.memory.remember_stock(&known.sale, facts);
    }

    async fn settled(
        &self,
        sale: SaleId,
        outcome: Arc<Outcome>,
        replayed: bool,
    ) -> Result<Purchased, PortError> {
        let items = self.items(sale, &outcome).await?;
        self.ports.meter.purchase(match outcome.verdict() {
            _ if replayed => PurchaseAnswer::Replayed,
            Verdict::Bought => PurchaseAnswer::Bought,
            Verdict::NothingLeft => PurchaseAnswer::SoldOut,
            Verdict::LimitReached => PurchaseAnswer::BuyerLimit,
        });
        Ok(Purchased::Settled { outcome, items, replayed })
    }

    /// Names from memory where the catalogue is there, which it is wherever the sale was sold lately.
    async fn items(&self, sale: SaleId, outcome: &Outcome) -> Result<Vec<Item>, PortError> {
        let numbers: Vec<ItemNo> = outcome.lines.iter().map(|line| line.line.item).collect();
        if let Some(known) = self.ports.board.find(sale).await?
            && let Some(catalogue) = known.loaded()
        {
            return Ok(numbers.into_iter().filter_map(|no| catalogue.item(no)).collect());
        }
        self.ports.items.named(sale, &numbers).await
    }

    fn refuse(&self, sale: SaleId, attempt: AttemptId, reason: RefusalReason) -> Purchased {
        if let Some(reading) = self.ports.board.clock().database() {
            self.ports.refusals.record(Refusal {
                sale,
                operation: Operation::Purchase,
                reason,
                buyer: None,
                item: None,
                attempt: Some(attempt),
                refused_at: reading.at,
            });
        }
        self.ports.meter.refused(reason);
        self.ports.meter.purchase(match reason {
            RefusalReason::Ended => PurchaseAnswer::Ended,
            RefusalReason::NotStarted => PurchaseAnswer::NotStarted,
            RefusalReason::InProgress => PurchaseAnswer::InProgress,
            RefusalReason::BuyerLimit => PurchaseAnswer::BuyerLimit,
            RefusalReason::ItemSoldOut
            | RefusalReason::SaleSoldOut
            | RefusalReason::ItemNotFound => PurchaseAnswer::SoldOut,
            RefusalReason::Unavailable => PurchaseAnswer::Unavailable,
        });
        Purchased::Refused(reason)
    }
}
