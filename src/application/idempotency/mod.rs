//! Idempotency: a checkout or purchase with an idempotency key takes effect once, however often the request is repeated.
//!
//! The key is looked up before any refusal: the repeat of an accepted request gets the same answer, even if the item has
//! sold out since. The key is written in the transaction of its effect, so PostgreSQL alone decides which request is the
//! first. A refused request changes nothing and stores no key: the client may send it again.

pub(crate) mod tests;

use std::sync::Arc;

use super::catalogue::Item;
use super::checkout::{Checkout, CheckoutAnswer, CheckoutCommand, CheckoutRefusal, LineChange};
use super::codes::Codes;
use super::ports::{
    Caller, CheckoutStore, Done, Effect, IdempotencyLock, IdempotencyStore, Keyed, KeyedRequest,
    PortError,
};
use super::purchase::{Purchase, Purchased, RequestedTerms};
use super::sale_cache::SaleCache;
use super::turns::{Turn, Turns};
use crate::domain::checkout::Line;
use crate::domain::code::CodeClaim;
use crate::domain::ids::{BuyerId, ItemNo, Quantity, SaleId};
use crate::domain::sale::SaleState;
use crate::domain::terms::CheckoutTag;

/// A change of the checkout behind a code.
#[derive(Debug, Clone)]
pub struct ChangeCommand {
    /// The code.
    pub claim: CodeClaim,
    /// The buyer whose checkout it must be; `None`: anyone's.
    pub buyer: Option<BuyerId>,
    /// The change.
    pub line_change: LineChange,
    /// The checkout has one of these tags, or it is not changed; `None`: any.
    pub tags: Option<Vec<CheckoutTag>>,
    /// The idempotency key, if the request has one.
    pub key: Option<KeyedRequest>,
}

/// A purchase of the checkout behind a code.
#[derive(Debug, Clone)]
pub struct KeyedPurchase {
    /// The code.
    pub claim: CodeClaim,
    /// The buyer whose checkout it must be; `None`: anyone's.
    pub buyer: Option<BuyerId>,
    /// What must hold, or nothing is bought.
    pub terms: RequestedTerms,
}

/// A checkout with its items.
#[derive(Debug)]
pub struct CheckoutView {
    /// Its code.
    pub code: CodeClaim,
    /// Its buyer.
    pub buyer: BuyerId,
    /// Its items, in the order in which they were collected.
    pub lines: Vec<(Item, Quantity)>,
    /// Its state.
    pub status: CheckoutStatus,
    /// Identifies its lines.
    pub tag: CheckoutTag,
}

/// The state of a checkout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckoutStatus {
    /// It can be changed and purchased.
    Open,
    /// It has been purchased, with any outcome.
    Purchased,
    /// The sale is not open: the checkout can be neither changed nor purchased.
    Closed,
}

/// The answer to a checkout request, with the items by name.
#[derive(Debug)]
pub enum CheckoutReply {
    /// The checkout has been changed as requested.
    Accepted {
        /// The checkout afterwards.
        view: CheckoutView,
        /// Whether the request created the checkout, or the line if it named a checkout.
        created: bool,
    },
    /// The checkout is unchanged.
    Refused(CheckoutRefusal),
}

/// Executes requests with idempotency keys.
pub struct Idempotency {
    ports: IdempotencyPorts,
}

/// Everything that [`Idempotency`] needs.
pub struct IdempotencyPorts {
    /// Executes checkouts.
    pub checkout: Arc<Checkout>,
    /// Executes purchases.
    pub purchase: Arc<Purchase>,
    /// Sales and their items, cached.
    pub sale_cache: Arc<SaleCache>,
    /// Reads checkouts.
    pub checkouts: Arc<dyn CheckoutStore>,
    /// Reads used keys.
    pub keys: Arc<dyn IdempotencyStore>,
    /// Blocks repeats of a running checkout.
    pub idempotency_lock: Arc<dyn IdempotencyLock>,
    /// Lets repeats wait for the first.
    pub turns: Turns,
    /// Verifies codes.
    pub codes: Arc<Codes>,
}

impl Idempotency {
    /// Creates the use case on these ports.
    #[must_use]
    pub fn new(ports: IdempotencyPorts) -> Self {
        Self { ports }
    }

    /// Changes the buyer's open checkout, once for each key.
    pub async fn checkout(
        &self,
        command: CheckoutCommand,
        key: KeyedRequest,
    ) -> Result<Keyed<CheckoutReply>, PortError> {
        let caller = Caller::Buyer(command.buyer.clone(), command.sale);
        self.collect((caller, None), key, |_| command).await
    }

    /// Changes the checkout behind a code, once for each key.
    pub async fn change(&self, command: ChangeCommand) -> Result<Keyed<CheckoutReply>, PortError> {
        let ChangeCommand { claim, buyer, line_change, tags, key } = command;
        if !self.ports.codes.is_genuine(&claim).await? {
            return Ok(Keyed::UnknownCode);
        }
        let CodeClaim { sale, attempt, .. } = claim;
        let (named_sale, named_attempt) = (Some(sale), Some(attempt));
        let command = |buyer| CheckoutCommand {
            buyer,
            line_change,
            sale: named_sale,
            attempt: named_attempt,
            tags,
        };
        if let Some(key) = key {
            return self.collect((Caller::HolderOf(sale, attempt), buyer), key, command).await;
        }
        let Some(found) = self.ports.checkouts.find(sale, attempt).await? else {
            return Ok(Keyed::UnknownCode);
        };
        if buyer.is_some_and(|buyer| buyer != found.buyer) {
            return Ok(Keyed::OtherBuyer);
        }
        let command = command(found.buyer);
        let answer = match self.ports.checkout.refuse_from_cache(&command) {
            Some(answer) => answer,
            None => self.ports.checkout.execute(&command).await?,
        };
        Ok(Keyed::New(self.reply(command.buyer, answer).await?))
    }

    /// Purchases the checkout behind a code, once for each key.
    pub async fn purchase(
        &self,
        purchase: KeyedPurchase,
        key: KeyedRequest,
    ) -> Result<Keyed<Purchased>, PortError> {
        let KeyedPurchase { claim, buyer, terms } = purchase;
        let Some(command) = self.ports.purchase.verify_code(claim).await? else {
            return Ok(Keyed::UnknownCode);
        };
        let caller = Caller::HolderOf(claim.sale, claim.attempt);
        let purchased = match self.ports.keys.find(caller, key.clone()).await?.into_new() {
            Ok(_) => {
                let command = self.ports.purchase.with_terms(command, terms).await?;
                let command = command.on_behalf_of(buyer.clone());
                self.ports.purchase.execute_keyed(command, key).await?
            }
            Err(known) => known,
        };
        match purchased.into_replayed() {
            Ok(done) if buyer.as_ref().is_some_and(|own| *own != done.buyer) => {
                Ok(Keyed::OtherBuyer)
            }
            Ok(Done { sale, attempt, .. }) => {
                Ok(Keyed::Replayed(self.ports.purchase.replay(sale, attempt).await?))
            }
            Err(keyed) => Ok(keyed),
        }
    }

    /// The checkout behind a code; `None` if this service did not issue the code.
    pub async fn find(&self, claim: CodeClaim) -> Result<Option<CheckoutView>, PortError> {
        if !self.ports.codes.is_genuine(&claim).await? {
            return Ok(None);
        }
        let Some(found) = self.ports.checkouts.find(claim.sale, claim.attempt).await? else {
            return Ok(None);
        };
        let known = self.ports.sale_cache.find(claim.sale).await?;
        let now = self.ports.sale_cache.clock().database();
        let window = known.zip(now).map(|(known, now)| known.sale.window.state_at(now.at));
        let status = match window {
            _ if found.purchased => CheckoutStatus::Purchased,
            Some(SaleState::Open) => CheckoutStatus::Open,
            Some(SaleState::Upcoming | SaleState::Ended) | None => CheckoutStatus::Closed,
        };
        let tag = CheckoutTag::of(&found.lines);
        let lines = self.named(claim.sale, &found.lines).await?;
        Ok(Some(CheckoutView { code: claim, buyer: found.buyer, lines, status, tag }))
    }

    async fn collect(
        &self,
        (caller, on_behalf_of): (Caller, Option<BuyerId>),
        key: KeyedRequest,
        command: impl FnOnce(BuyerId) -> CheckoutCommand,
    ) -> Result<Keyed<CheckoutReply>, PortError> {
        let command = match self.ports.keys.find(caller, key.clone()).await?.into_new() {
            Ok(buyer) if on_behalf_of.as_ref().is_some_and(|own| *own != buyer) => {
                return Ok(Keyed::OtherBuyer);
            }
            Ok(buyer) => command(buyer),
            Err(Keyed::Replayed(done))
                if on_behalf_of.as_ref().is_some_and(|own| *own != done.buyer) =>
            {
                return Ok(Keyed::OtherBuyer);
            }
            Err(known) => return self.replay(known).await,
        };
        let answer = match self.ports.checkout.refuse_from_cache(&command) {
            // A refusal from the cache has no effect, so it needs no lock.
            Some(answer) => Keyed::New(answer),
            None => self.execute_locked(&command, &key).await?,
        };
        match answer.into_new() {
            Ok(answer) => Ok(Keyed::New(self.reply(command.buyer, answer).await?)),
            Err(known) => self.replay(known).await,
        }
    }

    /// Executes a checkout while holding the lock on its key, unless an equal request holds it: then waits for its answer.
    async fn execute_locked(
        &self,
        command: &CheckoutCommand,
        key: &KeyedRequest,
    ) -> Result<Keyed<CheckoutAnswer, Done>, PortError> {
        let IdempotencyPorts { idempotency_lock: lock, turns, .. } = &self.ports;
        let acquire = || lock.acquire(&command.buyer, &key.key);
        let lease = match turns.next(acquire, || self.used(command, key)).await? {
            Turn::Run(lease) => lease,
            Turn::Stored(known) => return Ok(known),
            Turn::InProgress => return Ok(Keyed::InProgress),
        };
        let answer = self.ports.checkout.execute_keyed(command, key).await;
        if let Some(lease) = lease {
            lock.release(lease).await;
        }
        answer
    }

    /// What the buyer's key was used for, if it was.
    async fn used(
        &self,
        command: &CheckoutCommand,
        key: &KeyedRequest,
    ) -> Result<Option<Keyed<CheckoutAnswer, Done>>, PortError> {
        let caller = Caller::Buyer(command.buyer.clone(), command.sale);
        let found = self.ports.keys.find(caller, key.clone()).await?;
        Ok(found.into_new().err())
    }

    /// The first answer to a repeated request, from what its key stands for.
    async fn replay(
        &self,
        known: Keyed<CheckoutReply, Done>,
    ) -> Result<Keyed<CheckoutReply>, PortError> {
        let done = match known.into_replayed() {
            Ok(done) => done,
            Err(keyed) => return Ok(keyed),
        };
        let Effect::Changed { created, lines } = done.effect else {
            return Ok(Keyed::ContentMismatch);
        };
        let code = self.ports.codes.sign(done.sale, done.attempt).await?;
        let view = self.view(code, done.buyer, &lines).await?;
        Ok(Keyed::Replayed(CheckoutReply::Accepted { view, created }))
    }

    async fn reply(
        &self,
        buyer: BuyerId,
        answer: CheckoutAnswer,
    ) -> Result<CheckoutReply, PortError> {
        match answer {
            CheckoutAnswer::Accepted { code, lines, created, .. } => {
                let view = self.view(code, buyer, &lines).await?;
                Ok(CheckoutReply::Accepted { view, created })
            }
            CheckoutAnswer::Refused(refusal) => Ok(CheckoutReply::Refused(refusal)),
        }
    }

    /// A checkout as the request left it.
    async fn view(
        &self,
        code: CodeClaim,
        buyer: BuyerId,
        lines: &[Line],
    ) -> Result<CheckoutView, PortError> {
        let tag = CheckoutTag::of(lines);
        let lines = self.named(code.sale, lines).await?;
        Ok(CheckoutView { code, buyer, lines, status: CheckoutStatus::Open, tag })
    }

    async fn named(
        &self,
        sale: SaleId,
        lines: &[Line],
    ) -> Result<Vec<(Item, Quantity)>, PortError> {
        let numbers: Vec<ItemNo> = lines.iter().map(|line| line.item).collect();
        let mut items = self.ports.sale_cache.items_by_number(sale, &numbers).await?;
        let named = lines.iter().filter_map(|line| {
            let place = items.iter().position(|item| item.no == line.item)?;
            Some((items.swap_remove(place), line.quantity))
        });
        Ok(named.collect())
    }
}
