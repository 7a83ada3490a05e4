//! Checkout: collect items into the buyer's open checkout, or change it, and answer its code. Nothing is reserved.
//!
//! Most refusals end on the board, without I/O. What the shared memory believes is a reason to look again, never a
//! verdict: its refusal is confirmed in PostgreSQL, and what was confirmed is remembered for a second, so that a buyer who
//! hammers at the limit costs one look a second. The memory is asked only where its word can change something: for a buyer
//! whom PostgreSQL has refused, and for a sale whose stock this instance has not read yet. It is told of standings from half
//! of the limit on; a refusal far below it, of many pieces at once, is PostgreSQL's each time.

mod confirmed;
mod tests;

use std::sync::Arc;

use super::board::{ActiveSale, Board, KnownSale};
use super::catalogue::Catalogue;
use super::ports::{
    Belief, CheckoutBook, CodeSigner, Collect, Collected, Edit, FilterResult, KeyUse, Knock,
    KnownStanding, Meter, Operation, PortError, Refusal, RefusalReason, SharedMemory,
};
use super::refusals::Refusals;
use crate::domain::checkout::{Change, Line};
use crate::domain::code::CodeClaim;
use crate::domain::ids::{AttemptId, BuyerId, ItemId, Quantity, SaleId};
use crate::domain::sale::{Sale, SaleState};

use confirmed::ConfirmedRefusals;

/// What the buyer wants of a checkout.
#[derive(Debug, Clone)]
pub struct CheckoutCommand {
    /// Who.
    pub buyer: BuyerId,
    /// What, all of it or nothing.
    pub wish: Wish,
    /// Of which sale; the open one if not said.
    pub sale: Option<SaleId>,
    /// Of which checkout; whichever is open, or a new one, if not said.
    pub attempt: Option<AttemptId>,
    /// What keeps a repeat from happening again.
    pub key: Option<KeyUse>,
}

/// What is to be different.
#[derive(Debug, Clone)]
pub enum Wish {
    /// These items are in it, with these quantities. At least one; none comes twice.
    Set(Vec<Wanted>),
    /// This item is not in it.
    Remove(ItemId),
}

/// An item, and how many of it.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Which.
    pub item: ItemId,
    /// How many.
    pub quantity: Quantity,
}

impl Wish {
    fn wanted(&self) -> &[Wanted] {
        match self {
            Self::Set(wanted) => wanted,
            Self::Remove(_) => &[],
        }
    }

    /// Ids of all items that it names.
    fn items(&self) -> impl Iterator<Item = &ItemId> {
        let removed = if let Self::Remove(item) = self { Some(item) } else { None };
        self.wanted().iter().map(|wanted| &wanted.item).chain(removed)
    }
}

/// The answer to a checkout.
#[derive(Debug)]
pub enum CheckoutAnswer {
    /// The checkout is as it was asked for.
    Accepted {
        /// The code that buys it.
        code: CodeClaim,
        /// What is in the checkout.
        lines: Vec<Line>,
        /// Whether this made what was asked for: the checkout, or the line where a checkout was named.
        created: bool,
        /// The sale.
        sale: Arc<Sale>,
    },
    /// Nothing has changed.
    Refused(CheckoutRefusal),
}

/// Why a checkout is as it was.
#[derive(Debug)]
pub enum CheckoutRefusal {
    /// The sale refuses it.
    BySale {
        /// Why.
        reason: RefusalReason,
        /// The items that it is for, where it is for items.
        items: Vec<ItemId>,
    },
    /// More pieces of an item than any buyer may have; this is the limit.
    QuantityBeyondLimit(i32),
    /// No sale has this number.
    SaleNotFound,
    /// No sale was named, and none is open.
    NoActiveSale,
    /// No sale was named, and several are open.
    SaleIdRequired,
    /// The key has been used.
    KeyUsed,
}

/// Collects items.
pub struct Checkout {
    board: Arc<Board>,
    book: Arc<dyn CheckoutBook>,
    memory: Arc<dyn SharedMemory>,
    signer: Arc<dyn CodeSigner>,
    refusals: Arc<Refusals>,
    meter: Arc<dyn Meter>,
    confirmed: ConfirmedRefusals,
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
        Self {
            board,
            book,
            memory,
            signer,
            refusals,
            meter,
            confirmed: ConfirmedRefusals::default(),
        }
    }

    /// What can be said at once, from memory and for good; `None` if somebody has to be asked.
    #[must_use]
    pub fn glance(&self, command: &CheckoutCommand) -> Option<CheckoutAnswer> {
        let known = match command.sale {
            Some(id) => self.board.known(id)?,
            None => match self.board.active_now(None) {
                ActiveSale::Found(known) => known,
                ActiveSale::Several | ActiveSale::None => return None,
            },
        };
        let answer = Ok(self.refused_by_memory(&known, command)?);
        // Where no sale was named, the next one may be open already.
        if command.sale.is_none() && is_closed(&answer) {
            return None;
        }
        self.record(&known.sale, command, answer).ok()
    }

    /// Does what is asked. Durable before it answers `Accepted`; a dropped future leaves either all of it or nothing.
    pub async fn execute(&self, command: &CheckoutCommand) -> Result<CheckoutAnswer, PortError> {
        let known = match command.sale {
            Some(id) => match self.board.find(id).await? {
                Some(known) => known,
                None => return Ok(CheckoutAnswer::Refused(CheckoutRefusal::SaleNotFound)),
            },
            None => match self.board.active(None).await? {
                ActiveSale::Found(known) => known,
                ActiveSale::Several => {
                    return Ok(CheckoutAnswer::Refused(CheckoutRefusal::SaleIdRequired));
                }
                ActiveSale::None => {
                    return Ok(CheckoutAnswer::Refused(CheckoutRefusal::NoActiveSale));
                }
            },
        };
        let answer = self.collect(&known, command).await;
        // At the hour PostgreSQL may find the sale closed that this instance took for the open one: then it is the other; and
        // while that one was asked, the first may have opened.
        if command.sale.is_none()
            && is_closed(&answer)
            && let Ok(ActiveSale::Found(other)) = self.board.active(Some(known.sale.id)).await
        {
            let second = self.collect(&other, command).await;
            if !is_closed(&second) {
                return self.record(&other.sale, command, second);
            }
            let third = self.collect(&known, command).await;
            return self.record(&known.sale, command, third);
        }
        self.record(&known.sale, command, answer)
    }

    async fn collect(
        &self,
        known: &KnownSale,
        command: &CheckoutCommand,
    ) -> Result<CheckoutAnswer, PortError> {
        let sale = &known.sale;
        if let Some(answer) = self.refused_by_memory(known, command) {
            return Ok(answer);
        }
        let catalogue = if let Some(catalogue) = known.loaded() {
            Arc::clone(catalogue)
        } else {
            let catalogue = self.board.catalogue(known).await?;
            if let Some(answer) = self.refused_for_items(known, command, &catalogue) {
                return Ok(answer);
            }
            catalogue
        };
        let Some(edit) = edit(&command.wish, &catalogue) else {
            return Ok(refused(RefusalReason::ItemNotFound));
        };
        let mut version = None;
        let mut belief = None;
        // The memory knows about one item at a time.
        if let [line] = *edit.lines()
            && (!known.is_warm() || self.confirmed.has(sale.id, &command.buyer))
        {
            let told = self.belief(sale, command, line).await;
            if let Belief::OverLimit { version: of } = told {
                version = Some(of);
                let now = self.board.clock().monotonic();
                if self.confirmed.holds(sale.id, &command.buyer, of, now) {
                    return Ok(refused(RefusalReason::BuyerLimit));
                }
            }
            belief = Some(told);
        }
        let CheckoutCommand { buyer, attempt, key, .. } = command;
        let (buyer, attempt, key) = (buyer.clone(), *attempt, key.clone());
        let collected =
            self.book.collect(Collect { sale: sale.id, buyer, attempt, edit, key }).await?;
        if let Some(belief) = belief {
            self.count_filter(belief, &collected);
        }
        if collected == Collected::OverLimit {
            let now = self.board.clock().monotonic();
            self.confirmed.remember(sale.id, &command.buyer, version, now);
        }
        Ok(self.answer(known, command, collected))
    }

    /// The refusals that cost no I/O.
    fn refused_by_memory(
        &self,
        known: &KnownSale,
        command: &CheckoutCommand,
    ) -> Option<CheckoutAnswer> {
        match self.board.state(known) {
            Some(SaleState::Upcoming) => return Some(refused(RefusalReason::NotStarted)),
            Some(SaleState::Ended) => return Some(refused(RefusalReason::Ended)),
            // Where this instance may not tell, PostgreSQL does.
            Some(SaleState::Open) | None => {}
        }
        let limit = known.sale.buyer_limit;
        if command.wish.wanted().iter().any(|wanted| wanted.quantity.get() > limit) {
            return Some(CheckoutAnswer::Refused(CheckoutRefusal::QuantityBeyondLimit(limit)));
        }
        self.refused_for_items(known, command, known.loaded()?)
    }

    /// What the sale does not have, or what is known to be sold out where the board may say so.
    fn refused_for_items(
        &self,
        known: &KnownSale,
        command: &CheckoutCommand,
        catalogue: &Catalogue,
    ) -> Option<CheckoutAnswer> {
        let (mut unknown, mut gone) = (Vec::new(), Vec::new());
        for wanted in command.wish.wanted() {
            match catalogue.find(&wanted.item) {
                None => unknown.push(wanted.item.clone()),
                Some(item) if known.is_sold_out(item) => gone.push(wanted.item.clone()),
                Some(_) => {}
            }
        }
        if let Wish::Remove(item) = &command.wish
            && catalogue.find(item).is_none()
        {
            unknown.push(item.clone());
        }
        if !unknown.is_empty() {
            return Some(refused_for(RefusalReason::ItemNotFound, unknown));
        }
        if gone.is_empty() || !self.board.may_refuse(known) {
            return None;
        }
        Some(refused_for(self.reason_of_sold_out(known), gone))
    }

    fn answer(
        &self,
        known: &KnownSale,
        command: &CheckoutCommand,
        collected: Collected,
    ) -> CheckoutAnswer {
        let sale = &known.sale;
        match collected {
            Collected::Added { attempt, created, standing, change, version } => {
                let (sale, buyer) = (Arc::clone(sale), command.buyer.clone());
                let known = KnownStanding { sale, buyer, standing, version };
                self.accept(attempt, (change, created), known)
            }
            Collected::SoldOut(facts) => {
                self.board.learn(sale.id, &facts);
                let is_gone = |item: &&ItemId| {
                    let no = known.loaded().and_then(|catalogue| catalogue.find(item));
                    no.is_some_and(|no| facts.sold_out.contains(&no))
                };
                let items = command.wish.items().filter(is_gone).cloned().collect();
                refused_for(self.reason_of_sold_out(known), items)
            }
            Collected::OverLimit => refused(RefusalReason::BuyerLimit),
            Collected::NotStarted => refused(RefusalReason::NotStarted),
            Collected::Ended => refused(RefusalReason::Ended),
            Collected::Closed => refused(RefusalReason::Closed),
            Collected::KeyUsed => CheckoutAnswer::Refused(CheckoutRefusal::KeyUsed),
        }
    }

    fn accept(
        &self,
        attempt: AttemptId,
        (change, created): (Change, bool),
        known: KnownStanding,
    ) -> CheckoutAnswer {
        let sale = Arc::clone(&known.sale);
        // What is far from the limit refuses nobody. A line that became smaller is told: an older standing may refuse.
        let lines = if change == Change::Replaced || known.standing.is_near(sale.buyer_limit) {
            let lines = known.standing.lines.clone();
            self.memory.remember_standing(known);
            lines
        } else {
            known.standing.lines
        };
        self.meter.checkout(None);
        CheckoutAnswer::Accepted { code: self.signer.sign(sale.id, attempt), lines, created, sale }
    }

    fn reason_of_sold_out(&self, known: &KnownSale) -> RefusalReason {
        if known.all_sold_out() && self.board.may_refuse(known) {
            RefusalReason::SaleSoldOut
        } else {
            RefusalReason::ItemSoldOut
        }
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
            Belief::Fine | Belief::OverLimit { .. } | Belief::SaleSoldOut => FilterResult::Miss,
        });
    }

    /// Puts the final answer on record, if it is a refusal: an attempt is refused once, whatever was tried for it.
    fn record(
        &self,
        sale: &Sale,
        command: &CheckoutCommand,
        answer: Result<CheckoutAnswer, PortError>,
    ) -> Result<CheckoutAnswer, PortError> {
        let (reason, at_fault) = match &answer {
            Ok(CheckoutAnswer::Refused(CheckoutRefusal::BySale { reason, items })) => {
                (*reason, items.first())
            }
            Err(_) => (RefusalReason::Unavailable, None),
            Ok(_) => return answer,
        };
        let item = at_fault.or_else(|| command.wish.items().next());
        if let Some(reading) = self.board.clock().database() {
            self.refusals.record(Refusal {
                sale: sale.id,
                operation: Operation::Checkout,
                reason,
                buyer: Some(command.buyer.clone()),
                item: item.cloned(),
                attempt: command.attempt,
                refused_at: reading.at,
            });
        }
        self.meter.checkout(Some(reason));
        self.meter.refused(reason);
        answer
    }
}

fn is_closed(answer: &Result<CheckoutAnswer, PortError>) -> bool {
    let Ok(CheckoutAnswer::Refused(CheckoutRefusal::BySale { reason, .. })) = answer else {
        return false;
    };
    matches!(reason, RefusalReason::Ended | RefusalReason::NotStarted)
}

fn refused(reason: RefusalReason) -> CheckoutAnswer {
    refused_for(reason, Vec::new())
}

fn refused_for(reason: RefusalReason, items: Vec<ItemId>) -> CheckoutAnswer {
    CheckoutAnswer::Refused(CheckoutRefusal::BySale { reason, items })
}

/// The wish in numbers; `None` if the sale does not have all of it.
fn edit(wish: &Wish, catalogue: &Catalogue) -> Option<Edit> {
    match wish {
        Wish::Set(wanted) => {
            let line = |wanted: &Wanted| {
                Some(Line { item: catalogue.find(&wanted.item)?, quantity: wanted.quantity })
            };
            let mut lines: Vec<Line> = wanted.iter().map(line).collect::<Option<_>>()?;
            // What comes at the same time is kept by number.
            lines.sort_by_key(|line| line.item);
            Some(Edit::Set(lines))
        }
        Wish::Remove(item) => catalogue.find(item).map(Edit::Remove),
    }
}
