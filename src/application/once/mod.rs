//! Once: checkouts and purchases with an idempotency key, so that a request that is repeated happens once.
//!
//! A key is looked for before anything else is said: whoever was told "accepted" is told so again, also when the item has been
//! sold out since. It is written in the transaction of what it stands for, so nothing but PostgreSQL decides whether a request
//! is the first. What was refused has changed nothing and leaves no key: the same request may be asked again.

mod tests;

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

/// Why a request does not happen now.
enum Stopped {
    /// It has happened.
    Done(Done),
    InProgress,
    OtherContent,
    NoCaller,
}

impl From<KeyState> for Result<BuyerId, Stopped> {
    fn from(state: KeyState) -> Self {
        match state {
            KeyState::Unused(buyer) => Ok(buyer),
            KeyState::Done(done) => Err(Stopped::Done(done)),
            KeyState::OtherContent => Err(Stopped::OtherContent),
            KeyState::NoCaller => Err(Stopped::NoCaller),
        }
    }
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
        let (caller, key) = (command.caller(), Some(key));
        let lease = match self.caller(caller.clone(), key.as_ref()).await? {
            Ok(buyer) => match self.enter(&buyer, key.as_ref()).await {
                Ok(lease) => lease,
                Err(stopped) => return self.sold_before(stopped).await,
            },
            Err(stopped) => return self.sold_before(stopped).await,
        };
        let sold = self.ports.purchase.execute(command.keyed(key.clone())).await;
        self.leave(lease).await;
        match sold? {
            Purchased::KeyUsed => {
                let stopped = self.stopped(caller, key.as_ref()).await?;
                self.sold_before(stopped).await
            }
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
        let buyer = match self.caller(caller.clone(), key.as_ref()).await? {
            Ok(buyer) => buyer,
            Err(stopped) => return self.changed_before(stopped).await,
        };
        let command = command(buyer.clone());
        // What memory refuses does not happen, so nothing has to be kept from happening beside it.
        let answer = if let Some(answer) = self.ports.checkout.glance(&command) {
            answer
        } else {
            let lease = match self.enter(&buyer, key.as_ref()).await {
                Ok(lease) => lease,
                Err(stopped) => return self.changed_before(stopped).await,
            };
            let answer = self.ports.checkout.execute(&command).await;
            self.leave(lease).await;
            answer?
        };
        match answer {
            CheckoutAnswer::Accepted { code, lines, created, .. } => {
                let view = self.view(code, buyer, &lines).await?;
                Ok(Once::Now(Changed::Accepted { view, created }))
            }
            CheckoutAnswer::Refused(CheckoutRefusal::KeyUsed) => {
                let stopped = self.stopped(caller, key.as_ref()).await?;
                self.changed_before(stopped).await
            }
            CheckoutAnswer::Refused(why) => Ok(Once::Now(Changed::Refused(why))),
        }
    }

    /// Whose request it is, if it is to happen.
    async fn caller(
        &self,
        caller: Caller,
        key: Option<&KeyUse>,
    ) -> Result<Result<BuyerId, Stopped>, PortError> {
        if let Some(key) = key {
            return Ok(self.ports.keys.find(caller, key.clone()).await?.into());
        }
        let (sale, attempt) = match caller {
            Caller::Buyer(buyer) => return Ok(Ok(buyer)),
            Caller::HolderOf(sale, attempt) => (sale, attempt),
        };
        let found = self.ports.book.find(sale, attempt).await?;
        Ok(found.map(|found| found.buyer).ok_or(Stopped::NoCaller))
    }

    /// Why a request whose key was used meanwhile did not happen.
    async fn stopped(&self, caller: Caller, key: Option<&KeyUse>) -> Result<Stopped, PortError> {
        // The one that used it was refused itself, or is not over.
        Ok(self.caller(caller, key).await?.err().unwrap_or(Stopped::InProgress))
    }

    /// Keeps others with this key out.
    async fn enter(
        &self,
        buyer: &BuyerId,
        key: Option<&KeyUse>,
    ) -> Result<Option<KeyLease>, Stopped> {
        let Some(wanted) = key else {
            return Ok(None);
        };
        match self.ports.gate.enter(buyer, &wanted.key).await {
            Ok(Some(lease)) => Ok(Some(lease)),
            Ok(None) => Err(Stopped::InProgress),
            // The gate is a courtesy: without Redis the second of two waits for the first, and is told what it came to.
            Err(_) => Ok(None),
        }
    }

    async fn leave(&self, lease: Option<KeyLease>) {
        if let Some(lease) = lease {
            self.ports.gate.leave(lease).await;
        }
    }

    async fn changed_before(&self, stopped: Stopped) -> Result<Once<Changed>, PortError> {
        let done = match told(stopped) {
            Ok(done) => done,
            Err(once) => return Ok(once),
        };
        let Effect::Changed { created, lines } = done.effect else {
            return Ok(Once::OtherContent);
        };
        let code = self.ports.signer.sign(done.sale, done.attempt);
        let view = self.view(code, done.buyer, &lines).await?;
        Ok(Once::Before(Changed::Accepted { view, created }))
    }

    async fn sold_before(&self, stopped: Stopped) -> Result<Once<Purchased>, PortError> {
        match told(stopped) {
            Ok(done) => {
                Ok(Once::Before(self.ports.purchase.replay(done.sale, done.attempt).await?))
            }
            Err(once) => Ok(once),
        }
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

/// What was done, or what there is to say where nothing was.
fn told<T>(stopped: Stopped) -> Result<Done, Once<T>> {
    match stopped {
        Stopped::Done(done) => Ok(done),
        Stopped::InProgress => Err(Once::InProgress),
        Stopped::OtherContent => Err(Once::OtherContent),
        Stopped::NoCaller => Err(Once::UnknownCode),
    }
}
