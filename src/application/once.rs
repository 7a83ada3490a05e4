//! Once: checkouts and purchases with an idempotency key, so that a request that is repeated happens once.
//!
//! A key is looked for before anything else is said: whoever was told "accepted" is told so again, also when the item has been
//! sold out since. It is written in the transaction of what it stands for, so nothing but PostgreSQL decides whether a request
//! is the first. What was refused has changed nothing and leaves no key: the same request may be asked again.

use std::sync::Arc;

use super::board::Board;
use super::catalogue::Item;
use super::checkout::{Checkout, CheckoutAnswer, CheckoutCommand, CheckoutRefusal, Wish};
use super::ports::{
    Caller, CheckoutBook, CodeSigner, Done, Effect, KeyBook, KeyGate, KeyLease, KeyState, KeyUse,
    PortError,
};
use super::purchase::{Purchase, PurchaseCommand, Purchased};
use crate::domain::checkout::Line;
use crate::domain::code::CodeClaim;
use crate::domain::ids::{BuyerId, ItemNo, Quantity, SaleId};
use crate::domain::sale::SaleState;

/// A change of the checkout behind a code.
#[derive(Debug, Clone)]
pub struct ChangeCommand {
    /// The code.
    pub claim: CodeClaim,
    /// What is to be different.
    pub wish: Wish,
    /// What keeps a repeat from happening again.
    pub key: Option<KeyUse>,
}

/// The answer to a request that may have a key.
#[derive(Debug)]
pub enum Once<T> {
    /// It was done, or refused, by this call.
    Now(T),
    /// It was done before; this is what was told then.
    Before(T),
    /// Another request with this key is running.
    InProgress,
    /// The key was used for another request.
    OtherContent,
    /// It is no code of ours.
    UnknownCode,
}

/// A checkout with the items that are in it.
#[derive(Debug)]
pub struct CheckoutView {
    /// Its code.
    pub code: CodeClaim,
    /// Whose it is.
    pub buyer: BuyerId,
    /// What is in it, in the order in which it came.
    pub lines: Vec<(Item, Quantity)>,
    /// What has become of it.
    pub stage: Stage,
}

/// Where a checkout is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It can be changed and purchased.
    Open,
    /// It has been purchased, whatever that came to.
    Purchased,
    /// The sale is not open: nothing can be done with it.
    Closed,
}

/// What a checkout was answered.
#[derive(Debug)]
pub enum Changed {
    /// The checkout is as it was asked for.
    Accepted {
        /// The checkout after it.
        view: CheckoutView,
        /// Whether this made what was asked for: the checkout, or the line where a checkout was named.
        created: bool,
    },
    /// Nothing has changed.
    Refused(CheckoutRefusal),
}

/// Does things once.
pub struct DoOnce {
    ports: OncePorts,
}

/// Everything that [`DoOnce`] needs.
pub struct OncePorts {
    /// Collects.
    pub checkout: Arc<Checkout>,
    /// Sells.
    pub purchase: Arc<Purchase>,
    /// What is known of sales.
    pub board: Arc<Board>,
    /// Keeps the checkouts.
    pub book: Arc<dyn CheckoutBook>,
    /// Knows the keys.
    pub keys: Arc<dyn KeyBook>,
    /// Keeps repeats of a running request out.
    pub gate: Arc<dyn KeyGate>,
    /// Tells forged codes.
    pub signer: Arc<dyn CodeSigner>,
}

/// What is to be done with a request.
enum Entry {
    /// It runs, for this buyer, until the pass is given back.
    Go(BuyerId, Option<KeyLease>),
    /// It has been done.
    Done(Done),
    InProgress,
    OtherContent,
    NoCaller,
}

impl DoOnce {
    /// With these ports.
    #[must_use]
    pub fn new(ports: OncePorts) -> Self {
        Self { ports }
    }

    /// Collects, once.
    pub async fn checkout(&self, command: CheckoutCommand) -> Result<Once<Changed>, PortError> {
        let caller = Caller::Buyer(command.buyer.clone());
        self.collect(caller, command.key.clone(), |_| command).await
    }

    /// Changes the checkout behind a code, once where there is a key.
    pub async fn change(&self, command: ChangeCommand) -> Result<Once<Changed>, PortError> {
        let ChangeCommand { claim, wish, key } = command;
        if !self.ports.signer.is_genuine(&claim) {
            return Ok(Once::UnknownCode);
        }
        let (sale, attempt) = (Some(claim.sale), Some(claim.attempt));
        let caller = Caller::HolderOf(claim.sale, claim.attempt);
        let of_buyer = |buyer| CheckoutCommand { buyer, wish, sale, attempt, key: key.clone() };
        self.collect(caller, key.clone(), of_buyer).await
    }

    /// Sells, once.
    pub async fn purchase(
        &self,
        command: PurchaseCommand,
        key: KeyUse,
    ) -> Result<Once<Purchased>, PortError> {
        let lease = match self.enter(command.caller(), Some(&key)).await? {
            Entry::Go(_, lease) => lease,
            Entry::Done(done) => return self.sold_before(&done).await,
            Entry::InProgress => return Ok(Once::InProgress),
            Entry::OtherContent => return Ok(Once::OtherContent),
            Entry::NoCaller => return Ok(Once::UnknownCode),
        };
        let caller = command.caller();
        let sold = self.ports.purchase.execute(command.keyed(key.clone())).await;
        self.leave(lease);
        match sold? {
            Purchased::KeyUsed => match self.ports.keys.find(caller, key).await? {
                KeyState::Done(done) => self.sold_before(&done).await,
                KeyState::OtherContent => Ok(Once::OtherContent),
                KeyState::Unused(_) => Ok(Once::InProgress),
                KeyState::NoCaller => Ok(Once::UnknownCode),
            },
            sold => Ok(Once::Now(sold)),
        }
    }

    /// The checkout behind a code; `None` if it is no code of ours.
    pub async fn find(&self, claim: CodeClaim) -> Result<Option<CheckoutView>, PortError> {
        if !self.ports.signer.is_genuine(&claim) {
            return Ok(None);
        }
        let Some(found) = self.ports.book.find(claim.sale, claim.attempt).await? else {
            return Ok(None);
        };
        let known = self.ports.board.find(claim.sale).await?;
        let now = self.ports.board.clock().database();
        let window = known.zip(now).map(|(known, now)| known.sale.window.state_at(now.at));
        let stage = match window {
            _ if found.purchased => Stage::Purchased,
            Some(SaleState::Open) => Stage::Open,
            Some(SaleState::Upcoming | SaleState::Ended) | None => Stage::Closed,
        };
        let lines = self.named(claim.sale, &found.lines).await?;
        Ok(Some(CheckoutView { code: claim, buyer: found.buyer, lines, stage }))
    }

    async fn collect(
        &self,
        caller: Caller,
        key: Option<KeyUse>,
        command: impl FnOnce(BuyerId) -> CheckoutCommand,
    ) -> Result<Once<Changed>, PortError> {
        let (buyer, lease) = match self.enter(caller.clone(), key.as_ref()).await? {
            Entry::Go(buyer, lease) => (buyer, lease),
            Entry::Done(done) => return self.changed_before(done).await,
            Entry::InProgress => return Ok(Once::InProgress),
            Entry::OtherContent => return Ok(Once::OtherContent),
            Entry::NoCaller => return Ok(Once::UnknownCode),
        };
        let command = command(buyer.clone());
        let answer = match self.ports.checkout.glance(&command) {
            Some(answer) => Ok(answer),
            None => self.ports.checkout.execute(&command).await,
        };
        self.leave(lease);
        match (answer?, key) {
            (CheckoutAnswer::Refused(CheckoutRefusal::KeyUsed), Some(key)) => {
                match self.ports.keys.find(caller, key).await? {
                    KeyState::Done(done) => self.changed_before(done).await,
                    KeyState::OtherContent => Ok(Once::OtherContent),
                    KeyState::Unused(_) => Ok(Once::InProgress),
                    KeyState::NoCaller => Ok(Once::UnknownCode),
                }
            }
            (CheckoutAnswer::Accepted { code, lines, created, .. }, _) => {
                let view = self.view(code, buyer, &lines).await?;
                Ok(Once::Now(Changed::Accepted { view, created }))
            }
            (CheckoutAnswer::Refused(why), _) => Ok(Once::Now(Changed::Refused(why))),
        }
    }

    /// Looks for the key, and takes its place if it is new. Without a key it only tells whose the request is.
    async fn enter(&self, caller: Caller, key: Option<&KeyUse>) -> Result<Entry, PortError> {
        let Some(wanted) = key else {
            return self.without_key(caller).await;
        };
        let buyer = match self.ports.keys.find(caller, wanted.clone()).await? {
            KeyState::Unused(buyer) => buyer,
            KeyState::Done(done) => return Ok(Entry::Done(done)),
            KeyState::OtherContent => return Ok(Entry::OtherContent),
            KeyState::NoCaller => return Ok(Entry::NoCaller),
        };
        Ok(match self.ports.gate.enter(&buyer, &wanted.key).await {
            Ok(Some(lease)) => Entry::Go(buyer, Some(lease)),
            Ok(None) => Entry::InProgress,
            // The gate is a courtesy: without Redis the second of two waits for the first, and is told what it came to.
            Err(_) => Entry::Go(buyer, None),
        })
    }

    async fn without_key(&self, caller: Caller) -> Result<Entry, PortError> {
        let (sale, attempt) = match caller {
            Caller::Buyer(buyer) => return Ok(Entry::Go(buyer, None)),
            Caller::HolderOf(sale, attempt) => (sale, attempt),
        };
        let found = self.ports.book.find(sale, attempt).await?;
        Ok(found.map_or(Entry::NoCaller, |found| Entry::Go(found.buyer, None)))
    }

    fn leave(&self, lease: Option<KeyLease>) {
        if let Some(lease) = lease {
            self.ports.gate.leave(lease);
        }
    }

    async fn changed_before(&self, done: Done) -> Result<Once<Changed>, PortError> {
        let Effect::Changed { created, lines } = done.effect else {
            return Ok(Once::OtherContent);
        };
        let code = self.ports.signer.sign(done.sale, done.attempt);
        let view = self.view(code, done.buyer, &lines).await?;
        Ok(Once::Before(Changed::Accepted { view, created }))
    }

    async fn sold_before(&self, done: &Done) -> Result<Once<Purchased>, PortError> {
        Ok(Once::Before(self.ports.purchase.replay(done.sale, done.attempt).await?))
    }

    /// A checkout as a request left it.
    async fn view(
        &self,
        code: CodeClaim,
        buyer: BuyerId,
        lines: &[Line],
    ) -> Result<CheckoutView, PortError> {
        let lines = self.named(code.sale, lines).await?;
        Ok(CheckoutView { code, buyer, lines, stage: Stage::Open })
    }

    async fn named(
        &self,
        sale: SaleId,
        lines: &[Line],
    ) -> Result<Vec<(Item, Quantity)>, PortError> {
        let numbers: Vec<ItemNo> = lines.iter().map(|line| line.item).collect();
        let mut items = self.ports.board.named(sale, &numbers).await?;
        let named = lines.iter().filter_map(|line| {
            let place = items.iter().position(|item| item.no == line.item)?;
            Some((items.swap_remove(place), line.quantity))
        });
        Ok(named.collect())
    }
}
