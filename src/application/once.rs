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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::checkout::Wanted;
    use crate::application::ports::{
        Ledger, MockCheckoutBook, MockKeyBook, MockKeyGate, RefusalReason,
    };
    use crate::testing::builders::{away, buyer, item_id, key_use, pieces, settle_of, sold_out};
    use crate::testing::house::House;

    fn wish(items: &[&str]) -> Wish {
        let wanted = |item: &&str| Wanted { item: item_id(item), quantity: pieces(1) };
        Wish::Set(items.iter().map(wanted).collect())
    }

    fn collect(sale: SaleId, items: &[&str], key: &str) -> CheckoutCommand {
        CheckoutCommand {
            buyer: buyer("ann"),
            wish: wish(items),
            sale: Some(sale),
            attempt: None,
            key: Some(key_use(key, &items.join(","))),
        }
    }

    /// The checkout as it was answered, and whether that was a repeat.
    fn accepted(once: Once<Changed>) -> (CheckoutView, bool) {
        match once {
            Once::Now(Changed::Accepted { view, .. }) => (view, false),
            Once::Before(Changed::Accepted { view, .. }) => (view, true),
            other => panic!("{other:?}"),
        }
    }

    fn reason(once: &Once<Changed>) -> Option<RefusalReason> {
        match once {
            Once::Now(Changed::Refused(CheckoutRefusal::BySale { reason, .. })) => Some(*reason),
            _ => None,
        }
    }

    fn ids(view: &CheckoutView) -> Vec<&str> {
        view.lines.iter().map(|(item, _)| item.id.as_str()).collect()
    }

    #[tokio::test]
    async fn a_repeat_is_told_what_the_first_was() {
        let house = House::open();
        let sale = house.sale(5, 9).await.id;
        let once = DoOnce::new(house.once_ports());

        let (first, is_repeat) =
            accepted(once.checkout(collect(sale, &["2", "1"], "a")).await.unwrap());
        once.checkout(collect(sale, &["3"], "b")).await.unwrap();
        let (again, is_repeated) =
            accepted(once.checkout(collect(sale, &["2", "1"], "a")).await.unwrap());

        assert_eq!((ids(&first), is_repeat), (vec!["1", "2"], false));
        assert_eq!((ids(&again), again.code, is_repeated), (vec!["1", "2"], first.code, true));
    }

    #[tokio::test]
    async fn what_was_accepted_is_told_again_when_it_is_sold_out() {
        let house = House::open();
        let sale = house.sale(2, 1).await.id;
        let once = DoOnce::new(house.once_ports());
        accepted(once.checkout(collect(sale, &["1"], "a")).await.unwrap());
        house.board.learn(sale, &sold_out(1, &[1]));

        let again = once.checkout(collect(sale, &["1"], "a")).await.unwrap();
        let new = once.checkout(collect(sale, &["1"], "b")).await.unwrap();

        assert!(accepted(again).1);
        assert_eq!(reason(&new), Some(RefusalReason::ItemSoldOut));
    }

    #[tokio::test]
    async fn what_was_refused_may_be_asked_again_at_once() {
        let house = House::open();
        let sale = house.sale(2, 1).await;
        house.bought(&sale, "bob", &[1]).await;
        let once = DoOnce::new(house.once_ports());

        let refused = once.checkout(collect(sale.id, &["1"], "a")).await.unwrap();
        house.shop.set_stock(sale.id, ItemNo(1), 2);
        house.board.refresh().await.unwrap();
        let again = once.checkout(collect(sale.id, &["1"], "a")).await.unwrap();

        assert_eq!(reason(&refused), Some(RefusalReason::ItemSoldOut));
        assert!(!accepted(again).1);
    }

    #[tokio::test]
    async fn another_request_with_the_key_is_refused() {
        let house = House::open();
        let sale = house.sale(5, 9).await.id;
        let once = DoOnce::new(house.once_ports());
        let (view, _) = accepted(once.checkout(collect(sale, &["1"], "a")).await.unwrap());

        let other = once.checkout(collect(sale, &["2"], "a")).await.unwrap();
        let key = Some(key_use("a", "remove"));
        let remove = ChangeCommand { claim: view.code, wish: Wish::Remove(item_id("1")), key };
        let removed = once.change(remove).await.unwrap();
        let command = house.purchase().admit(view.code).unwrap();
        let bought = once.purchase(command, key_use("a", "buy")).await.unwrap();

        assert!(matches!(other, Once::OtherContent), "{other:?}");
        assert!(matches!(removed, Once::OtherContent), "{removed:?}");
        assert!(matches!(bought, Once::OtherContent), "{bought:?}");
    }

    #[tokio::test]
    async fn while_the_first_is_in_the_gate_others_are_told_so() {
        let house = House::open();
        let sale = house.sale(5, 9).await.id;
        let ports = house.once_ports();
        let gate = Arc::clone(&ports.gate);
        let once = DoOnce::new(ports);
        let lease = gate.enter(&buyer("ann"), &key_use("a", "").key).await.unwrap().unwrap();

        let kept_out = once.checkout(collect(sale, &["1"], "a")).await.unwrap();
        gate.leave(lease).await;
        let let_in = once.checkout(collect(sale, &["1"], "a")).await.unwrap();

        assert!(matches!(kept_out, Once::InProgress), "{kept_out:?}");
        assert!(!accepted(let_in).1);
    }

    #[tokio::test]
    async fn a_gate_that_is_away_stops_nobody() {
        let house = House::open();
        let sale = house.sale(5, 9).await.id;
        let mut gate = MockKeyGate::new();
        gate.expect_enter().returning(|_, _| Err(away()));
        let once = DoOnce::new(OncePorts { gate: Arc::new(gate), ..house.once_ports() });

        assert!(!accepted(once.checkout(collect(sale, &["1"], "a")).await.unwrap()).1);
    }

    #[tokio::test]
    async fn keys_that_cannot_be_read_are_an_error_and_nothing_happens() {
        let house = House::open();
        let sale = house.sale(5, 9).await.id;
        let mut keys = MockKeyBook::new();
        keys.expect_find().returning(|_, _| Err(away()));
        let ports = house.once_ports();
        let book = Arc::new(MockCheckoutBook::new());
        let once = DoOnce::new(OncePorts { keys: Arc::new(keys), book, ..ports });

        assert!(once.checkout(collect(sale, &["1"], "a")).await.is_err());
    }

    #[tokio::test]
    async fn a_key_that_was_used_meanwhile_is_told_as_its_first_use() {
        let house = House::open();
        let sale = house.sale(5, 9).await.id;
        let first = DoOnce::new(house.once_ports());
        let (view, _) = accepted(first.checkout(collect(sale, &["1"], "a")).await.unwrap());
        // The look before the gate was too early: only the book finds that the key is used.
        let mut looks = 0;
        let (mut keys, shop) = (MockKeyBook::new(), house.shop());
        keys.expect_find().times(2).returning(move |_, wanted| {
            looks += 1;
            let caller = Caller::Buyer(buyer("ann"));
            let state =
                futures_util::FutureExt::now_or_never(KeyBook::find(&*shop, caller, wanted));
            if looks == 1 { Ok(KeyState::Unused(buyer("ann"))) } else { state.unwrap() }
        });
        let once = DoOnce::new(OncePorts { keys: Arc::new(keys), ..house.once_ports() });

        let (again, is_repeat) = accepted(once.checkout(collect(sale, &["1"], "a")).await.unwrap());

        assert_eq!((again.code, is_repeat), (view.code, true));
    }

    #[tokio::test]
    async fn a_checkout_is_shown_with_what_can_be_done_with_it() {
        let house = House::open();
        let sale = house.sale(5, 9).await;
        let once = DoOnce::new(house.once_ports());
        let attempt = house.attempt(&sale, "ann", &[2]).await;
        let code = house.code(&sale, attempt);
        let stage = async || once.find(code).await.unwrap().unwrap().stage;

        assert_eq!(stage().await, Stage::Open);
        house.clock.set(sale.window.ends_at());
        assert_eq!(stage().await, Stage::Closed);
        house.clock.set(sale.window.starts_at());
        house.shop.settle(settle_of(sale.id, attempt)).await.unwrap();
        assert_eq!(stage().await, Stage::Purchased);
    }
}
