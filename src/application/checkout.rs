//! Checkout: collect one item into the buyer's open checkout and answer its code. Nothing is reserved.
//!
//! Most refusals end on the board, without I/O. What the shared memory believes is a reason to look again, never a
//! verdict: its refusal is confirmed in PostgreSQL, and what was confirmed is remembered for a second, so that a buyer who
//! hammers at the limit costs one look a second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::board::{ActiveSale, Board, KnownSale};
use super::ports::{
    Belief, CheckoutBook, CodeSigner, Collect, Collected, FilterResult, Knock, KnownStanding,
    Meter, Operation, PortError, Refusal, RefusalReason, SharedMemory,
};
use super::refusals::Refusals;
use crate::domain::checkout::Line;
use crate::domain::code::CodeClaim;
use crate::domain::ids::{AttemptId, BuyerId, ItemId, ItemNo, Quantity, SaleId};
use crate::domain::sale::{Sale, SaleState};

/// How long a confirmed refusal at the limit is believed.
const CONFIRMED_FOR: Duration = Duration::from_secs(1);
/// Most confirmed refusals that are remembered.
const MAX_CONFIRMED: usize = 10_000;

/// What the buyer wants to collect.
#[derive(Debug, Clone)]
pub struct CheckoutCommand {
    /// Who.
    pub buyer: BuyerId,
    /// What.
    pub item: ItemId,
    /// How many.
    pub quantity: Quantity,
    /// Of which sale; the open one if not said.
    pub sale: Option<SaleId>,
}

/// The answer to a checkout.
#[derive(Debug)]
pub enum CheckoutAnswer {
    /// The item is in the checkout.
    Accepted {
        /// The code that buys it.
        code: CodeClaim,
        /// Lines in the checkout.
        lines: usize,
        /// The sale.
        sale: Arc<Sale>,
    },
    /// The sale refuses it.
    Refused(RefusalReason),
    /// More pieces than any buyer may have; this is the limit.
    QuantityBeyondLimit(i32),
    /// No sale has this number.
    SaleNotFound,
    /// No sale was named, and none is open.
    NoActiveSale,
    /// No sale was named, and several are open.
    SaleIdRequired,
}

/// Collects items.
pub struct Checkout {
    board: Arc<Board>,
    book: Arc<dyn CheckoutBook>,
    memory: Arc<dyn SharedMemory>,
    signer: Arc<dyn CodeSigner>,
    refusals: Arc<Refusals>,
    meter: Arc<dyn Meter>,
    confirmed: Mutex<HashMap<(SaleId, BuyerId), Duration>>,
}

/// Everything that [`Checkout`] needs.
pub struct CheckoutPorts {
    /// What is known of sales.
    pub board: Arc<Board>,
    /// Keeps the checkouts.
    pub book: Arc<dyn CheckoutBook>,
    /// Believes.
    pub memory: Arc<dyn SharedMemory>,
    /// Signs the codes.
    pub signer: Arc<dyn CodeSigner>,
    /// Records refusals.
    pub refusals: Arc<Refusals>,
    /// Counts.
    pub meter: Arc<dyn Meter>,
}

impl Checkout {
    /// Collects with these ports.
    #[must_use]
    pub fn new(ports: CheckoutPorts) -> Self {
        let CheckoutPorts { board, book, memory, signer, refusals, meter } = ports;
        Self { board, book, memory, signer, refusals, meter, confirmed: Mutex::default() }
    }

    /// Collects the item. Durable before it answers `Accepted`; a dropped future leaves either all of it or nothing.
    pub async fn execute(&self, command: &CheckoutCommand) -> Result<CheckoutAnswer, PortError> {
        if let Some(id) = command.sale {
            return match self.board.find(id).await? {
                Some(known) => self.collect(&known, command).await,
                None => Ok(CheckoutAnswer::SaleNotFound),
            };
        }
        let known = match self.board.active(None).await? {
            ActiveSale::Found(known) => known,
            ActiveSale::Several => return Ok(CheckoutAnswer::SaleIdRequired),
            ActiveSale::None => return Ok(CheckoutAnswer::NoActiveSale),
        };
        let answer = self.collect(&known, command).await?;
        let closed = matches!(
            answer,
            CheckoutAnswer::Refused(RefusalReason::Ended | RefusalReason::NotStarted)
        );
        // At the hour PostgreSQL may find the sale closed that this instance took for the open one: then it is the other.
        if closed && let ActiveSale::Found(other) = self.board.active(Some(known.sale.id)).await? {
            return self.collect(&other, command).await;
        }
        Ok(answer)
    }

    async fn collect(
        &self,
        known: &KnownSale,
        command: &CheckoutCommand,
    ) -> Result<CheckoutAnswer, PortError> {
        let sale = &known.sale;
        match self.board.state(known) {
            Some(SaleState::Upcoming) => {
                return Ok(self.refuse(sale, command, RefusalReason::NotStarted));
            }
            Some(SaleState::Ended) => {
                return Ok(self.refuse(sale, command, RefusalReason::Ended));
            }
            // Where this instance may not tell, PostgreSQL does.
            Some(SaleState::Open) | None => {}
        }
        if command.quantity.get() > sale.buyer_limit {
            return Ok(CheckoutAnswer::QuantityBeyondLimit(sale.buyer_limit));
        }
        let Some(item) = self.board.catalogue(known).await?.find(&command.item) else {
            return Ok(self.refuse(sale, command, RefusalReason::ItemNotFound));
        };
        if let Some(reason) = self.sold_out_on_the_board(known, item) {
            return Ok(self.refuse(sale, command, reason));
        }
        let line = Line { item, quantity: command.quantity };
        let belief = self.belief(sale, command, line).await;
        if belief == Belief::OverLimit && self.was_confirmed(sale.id, &command.buyer) {
            return Ok(self.refuse(sale, command, RefusalReason::BuyerLimit));
        }
        let wanted = Collect { sale: sale.id, buyer: command.buyer.clone(), line };
        let collected = match self.book.collect(wanted).await {
            Ok(collected) => collected,
            Err(error) => {
                self.refuse(sale, command, RefusalReason::Unavailable);
                return Err(error);
            }
        };
        self.count_filter(belief, &collected);
        Ok(self.answer(known, command, item, collected))
    }

    fn answer(
        &self,
        known: &KnownSale,
        command: &CheckoutCommand,
        item: ItemNo,
        collected: Collected,
    ) -> CheckoutAnswer {
        let sale = &known.sale;
        match collected {
            Collected::Added { attempt, standing, version } => {
                let (sale, buyer) = (Arc::clone(sale), command.buyer.clone());
                self.accept(attempt, KnownStanding { sale, buyer, standing, version })
            }
            Collected::SoldOut(facts) => {
                self.board.learn(sale.id, &facts);
                let reason =
                    self.sold_out_on_the_board(known, item).unwrap_or(RefusalReason::ItemSoldOut);
                self.refuse(sale, command, reason)
            }
            Collected::OverLimit => {
                self.remember_confirmed(sale.id, &command.buyer);
                self.refuse(sale, command, RefusalReason::BuyerLimit)
            }
            Collected::NotStarted => self.refuse(sale, command, RefusalReason::NotStarted),
            Collected::Ended => self.refuse(sale, command, RefusalReason::Ended),
        }
    }

    fn accept(&self, attempt: AttemptId, known: KnownStanding) -> CheckoutAnswer {
        let (lines, sale) = (known.standing.lines.len(), Arc::clone(&known.sale));
        self.memory.remember_standing(known);
        self.meter.checkout(None);
        CheckoutAnswer::Accepted { code: self.signer.sign(sale.id, attempt), lines, sale }
    }

    fn sold_out_on_the_board(&self, known: &KnownSale, item: ItemNo) -> Option<RefusalReason> {
        if !known.is_sold_out(item) || !self.board.may_refuse(known) {
            return None;
        }
        let all = known.all_sold_out();
        Some(if all { RefusalReason::SaleSoldOut } else { RefusalReason::ItemSoldOut })
    }

    async fn belief(&self, sale: &Arc<Sale>, command: &CheckoutCommand, line: Line) -> Belief {
        let knock = Knock { sale: Arc::clone(sale), buyer: command.buyer.clone(), line };
        // The memory is a courtesy. Its adapter tells about its failures; here they mean that nothing is believed.
        self.memory.believes(knock).await.unwrap_or(Belief::Cold)
    }

    fn count_filter(&self, belief: Belief, collected: &Collected) {
        let sold_out = matches!(collected, Collected::SoldOut(_));
        self.meter.filter(match belief {
            Belief::Cold => FilterResult::Cold,
            Belief::ItemInFilter if sold_out => FilterResult::Confirmed,
            Belief::ItemInFilter => FilterResult::FalsePositive,
            Belief::Fine | Belief::OverLimit | Belief::SaleSoldOut => FilterResult::Miss,
        });
    }

    fn refuse(
        &self,
        sale: &Sale,
        command: &CheckoutCommand,
        reason: RefusalReason,
    ) -> CheckoutAnswer {
        if let Some(reading) = self.board.clock().database() {
            self.refusals.record(Refusal {
                sale: sale.id,
                operation: Operation::Checkout,
                reason,
                buyer: Some(command.buyer.clone()),
                item: Some(command.item.clone()),
                attempt: None,
                refused_at: reading.at,
            });
        }
        self.meter.checkout(Some(reason));
        self.meter.refused(reason);
        CheckoutAnswer::Refused(reason)
    }

    fn was_confirmed(&self, sale: SaleId, buyer: &BuyerId) -> bool {
        let now = self.board.clock().monotonic();
        let confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        confirmed
            .get(&(sale, buyer.clone()))
            .is_some_and(|at| now.saturating_sub(*at) < CONFIRMED_FOR)
    }

    fn remember_confirmed(&self, sale: SaleId, buyer: &BuyerId) {
        let mut confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        if confirmed.len() >= MAX_CONFIRMED {
            confirmed.clear();
        }
        confirmed.insert((sale, buyer.clone()), self.board.clock().monotonic());
    }
}
