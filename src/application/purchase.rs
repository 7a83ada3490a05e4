//! Purchase: turn a checkout's code into sold items, once.
//!
//! A forged code ends here without I/O. A genuine one is never refused from memory: the ledger decides it or tells what was
//! decided. The lock per code only keeps a storm of repeats away from PostgreSQL.

use std::sync::Arc;

use super::board::Board;
use super::catalogue::Item;
use super::ports::{
    Caller, CodeLock, CodeSigner, Decision, KeyUse, KnownStanding, Ledger, Meter, News, Operation,
    PortError, PurchaseAnswer, Refusal, RefusalReason, Settle, Settled, SharedMemory,
};
use super::refusals::Refusals;
use crate::domain::checkout::Standing;
use crate::domain::code::CodeClaim;
use crate::domain::ids::{AttemptId, ItemNo, SaleId};
use crate::domain::purchase::{Outcome, Verdict};

/// What the buyer asks for: the checkout behind a code that this service has signed. [`Purchase::admit`] makes it.
#[derive(Debug, Clone)]
pub struct PurchaseCommand {
    sale: SaleId,
    attempt: AttemptId,
    key: Option<KeyUse>,
}

impl PurchaseCommand {
    /// The same, once for this key.
    #[must_use]
    pub fn keyed(self, key: Option<KeyUse>) -> Self {
        Self { key, ..self }
    }

    /// Whose checkout it is.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller::HolderOf(self.sale, self.attempt)
    }
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
    /// Signed, but no such checkout is there.
    UnknownCode,
    /// The sale refuses it; this is not stored.
    Refused(RefusalReason),
    /// The key has been used.
    KeyUsed,
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

    /// Checks the code's signature, from memory. `None`: it is forged, mistyped, or of a key that was removed.
    #[must_use]
    pub fn admit(&self, claim: CodeClaim) -> Option<PurchaseCommand> {
        if !self.ports.signer.is_genuine(&claim) {
            self.ports.meter.purchase(PurchaseAnswer::UnknownCode);
            return None;
        }
        Some(PurchaseCommand { sale: claim.sale, attempt: claim.attempt, key: None })
    }

    /// Settles the checkout behind the code, or tells what was settled before. Durable before it answers.
    pub async fn execute(&self, command: PurchaseCommand) -> Result<Purchased, PortError> {
        let PurchaseCommand { sale, attempt, key } = command;
        let lease = match self.ports.lock.acquire(sale, attempt).await {
            Ok(Some(lease)) => Some(lease),
            Ok(None) => return self.told_by_the_first(sale, attempt).await,
            // Correctness does not rest on the lock: without Redis the ledger alone keeps a code to one outcome.
            Err(_) => None,
        };
        let settled = self.ports.ledger.settle(Settle { sale, attempt, key }).await;
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
        match self.ports.ledger.outcome(sale, attempt).await {
            Ok(Some(outcome)) => self.settled(sale, Arc::new(outcome), true).await,
            Ok(None) => Ok(self.refuse(sale, attempt, RefusalReason::InProgress)),
            Err(error) => {
                self.refuse(sale, attempt, RefusalReason::Unavailable);
                Err(error)
            }
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
            Settled::Empty => Ok(self.refuse(sale, attempt, RefusalReason::Empty)),
            Settled::KeyUsed => Ok(Purchased::KeyUsed),
        }
    }

    /// Tells everyone who is quicker for knowing. The decision is committed: nothing here can change it.
    async fn spread(&self, sale: SaleId, decision: Decision) {
        let Decision { outcome, mut facts, version, bought } = decision;
        self.ports.meter.sold(outcome.total_purchased());
        self.ports.board.learn(sale, &facts);
        if !facts.sold_out.is_empty() {
            self.ports.news.tell(sale, &facts);
        }
        let Ok(Some(known)) = self.ports.board.find(sale).await else {
            return;
        };
        let standing = Standing { lines: Vec::new(), bought };
        // As with a checkout: what is far from the limit refuses nobody, and lines that failed count no longer.
        if standing.is_near(known.sale.buyer_limit) || outcome.failed().next().is_some() {
            self.ports.memory.remember_standing(KnownStanding {
                sale: Arc::clone(&known.sale),
                buyer: outcome.buyer.clone(),
                standing,
                version,
            });
        }
        // A total that leaves something refuses nobody either.
        facts.sold.retain(|(item, _)| facts.sold_out.contains(item));
        if !facts.sold_out.is_empty() {
            self.ports.memory.remember_stock(&known.sale, facts);
        }
    }

    /// What was decided for a code before.
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
        let numbers: Vec<ItemNo> = outcome.lines.iter().map(|line| line.line.item).collect();
        let items = self.ports.board.named(sale, &numbers).await?;
        self.ports.meter.purchase(match outcome.verdict() {
            _ if replayed => PurchaseAnswer::Replayed,
            Verdict::Bought => PurchaseAnswer::Bought,
            Verdict::NothingLeft => PurchaseAnswer::SoldOut,
            Verdict::LimitReached => PurchaseAnswer::BuyerLimit,
        });
        Ok(Purchased::Settled { outcome, items, replayed })
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
            RefusalReason::Empty => PurchaseAnswer::Empty,
            RefusalReason::ItemSoldOut
            | RefusalReason::SaleSoldOut
            | RefusalReason::Closed
            | RefusalReason::ItemNotFound => PurchaseAnswer::SoldOut,
            RefusalReason::Unavailable => PurchaseAnswer::Unavailable,
        });
        Purchased::Refused(reason)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::application::ports::{
        Belief, Knock, Lease, MockCodeLock, MockCodeSigner, MockItemReader, MockLedger,
        MockSharedMemory,
    };
    use crate::domain::purchase::Fate;
    use crate::domain::sale::{Sale, SaleWindow};
    use crate::testing::builders::{a_sale, attempt_id, away, buyer, line};
    use crate::testing::fakes::Metered;
    use crate::testing::house::House;

    async fn execute(ports: PurchasePorts, claim: CodeClaim) -> Result<Purchased, PortError> {
        let purchase = Purchase::new(ports);
        let command = purchase.admit(claim).expect("a genuine code");
        purchase.execute(command).await
    }

    async fn purchase(ports: PurchasePorts, claim: CodeClaim) -> Purchased {
        execute(ports, claim).await.unwrap()
    }

    fn settled(answer: Purchased) -> (Arc<Outcome>, Vec<Item>, bool) {
        match answer {
            Purchased::Settled { outcome, items, replayed } => (outcome, items, replayed),
            other => panic!("{other:?}"),
        }
    }

    fn lock_that_says(held: fn() -> Result<Option<Lease>, PortError>) -> Arc<dyn CodeLock> {
        let mut lock = MockCodeLock::new();
        lock.expect_acquire().returning(move |_, _| held());
        Arc::new(lock)
    }

    /// A sale of three unique items, of which ann wants all and bob has bought the second.
    async fn ann_wants_three() -> (House, Sale, AttemptId) {
        let house = House::open();
        let sale = house.sale(3, 1).await;
        let attempt = house.attempt(&sale, "ann", &[1, 2, 3]).await;
        house.bought(&sale, "bob", &[2]).await;
        (house, sale, attempt)
    }

    #[tokio::test]
    async fn what_is_left_is_bought_and_what_is_gone_is_named() {
        let (house, sale, attempt) = ann_wants_three().await;

        let answer = purchase(house.purchase_ports(), house.code(&sale, attempt)).await;

        let (outcome, items, replayed) = settled(answer);
        let fates: Vec<_> = outcome.lines.iter().map(|line| line.fate).collect();
        assert_eq!(fates, [Fate::Sold, Fate::SoldOut, Fate::Sold]);
        assert_eq!(items.iter().map(|item| item.no.0).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(!replayed);
    }

    #[tokio::test]
    async fn what_sold_out_is_known_to_the_board_and_told_to_the_others() {
        let (house, sale, attempt) = ann_wants_three().await;

        purchase(house.purchase_ports(), house.code(&sale, attempt)).await;

        let known = house.board.find(sale.id).await.unwrap().unwrap();
        assert!(known.all_sold_out());
        let told = house.news.told();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].1.sold_out, [1, 2, 3].map(ItemNo));
    }

    /// What the memory is told of the stock by a purchase of one piece.
    async fn told_of_stock(stock: i32) -> Option<Vec<(ItemNo, i32)>> {
        let house = House::open();
        let sale = house.sale(2, stock).await;
        let attempt = house.attempt(&sale, "ann", &[1]).await;
        let told = Arc::new(Mutex::new(None));
        let mut memory = MockSharedMemory::new();
        memory.expect_remember_standing().return_const(());
        let tells = Arc::clone(&told);
        memory
            .expect_remember_stock()
            .returning(move |_, facts| *tells.lock().unwrap() = Some(facts.sold));
        let ports = PurchasePorts { memory: Arc::new(memory), ..house.purchase_ports() };

        purchase(ports, house.code(&sale, attempt)).await;
        told.lock().unwrap().take()
    }

    #[tokio::test]
    async fn the_memory_is_told_of_items_when_they_are_sold_out() {
        assert_eq!(told_of_stock(1).await, Some(vec![(ItemNo(1), 1)]));
        assert_eq!(told_of_stock(2).await, None);
    }

    #[tokio::test]
    async fn the_memory_learns_what_the_buyer_has_now() {
        let house = House::open();
        let sale = house.sale(3, 50).await;
        let attempt = house.shop.stray_attempt(sale.id, buyer("ann"), &[line(1, 9)]);
        purchase(house.purchase_ports(), house.code(&sale, attempt)).await;

        let sale = Arc::new(sale);
        let knock = Knock { sale, buyer: buyer("ann"), line: line(2, 2) };
        let belief = house.memory.believes(knock).await.unwrap();

        assert!(matches!(belief, Belief::OverLimit { .. }), "{belief:?}");
    }

    #[tokio::test]
    async fn a_repeat_is_told_the_first_outcome_and_that_it_is_one() {
        let (house, sale, attempt) = ann_wants_three().await;
        let code = house.code(&sale, attempt);
        let (first, ..) = settled(purchase(house.purchase_ports(), code).await);

        let (again, _, replayed) = settled(purchase(house.purchase_ports(), code).await);

        assert_eq!((again, replayed), (first, true));
        assert_eq!(house.meter.count(Metered::Purchase(PurchaseAnswer::Replayed)), 1);
    }

    #[tokio::test]
    async fn a_forged_code_touches_no_port() {
        let house = House::open();
        let mut signer = MockCodeSigner::new();
        signer.expect_is_genuine().returning(|_| false);
        let ports = PurchasePorts {
            ledger: Arc::new(MockLedger::new()),
            lock: Arc::new(MockCodeLock::new()),
            signer: Arc::new(signer),
            ..house.purchase_ports()
        };
        let code = house.code(&a_sale(1), attempt_id(1));

        assert!(Purchase::new(ports).admit(code).is_none());
        assert_eq!(house.meter.count(Metered::Purchase(PurchaseAnswer::UnknownCode)), 1);
    }

    #[tokio::test]
    async fn a_code_of_another_attempt_with_this_ones_signature_is_forged() {
        let (house, sale, attempt) = ann_wants_three().await;
        let other = house.attempt(&sale, "eve", &[3]).await;

        let code = CodeClaim { attempt: other, ..house.code(&sale, attempt) };

        assert!(Purchase::new(house.purchase_ports()).admit(code).is_none());
    }

    #[tokio::test]
    async fn a_genuine_code_of_an_attempt_that_is_not_there_is_unknown() {
        let house = House::open();
        let sale = house.sale(1, 1).await;

        let answer = purchase(house.purchase_ports(), house.code(&sale, attempt_id(99))).await;

        assert!(matches!(answer, Purchased::UnknownCode));
    }

    #[tokio::test]
    async fn outside_the_window_the_refusal_is_on_record() {
        let hour = chrono::Duration::hours(1);
        for (moved, reason) in [(hour, RefusalReason::NotStarted), (-hour, RefusalReason::Ended)] {
            let (house, sale, attempt) = ann_wants_three().await;
            let window = sale.window;
            let window = SaleWindow::new(window.starts_at() + moved, window.ends_at() + moved);
            house.shop.move_window(sale.id, window.unwrap());

            let answer = purchase(house.purchase_ports(), house.code(&sale, attempt)).await;

            assert!(matches!(answer, Purchased::Refused(told) if told == reason));
            assert_eq!(house.refused(&sale).await, [(Operation::Purchase, reason, 1)]);
        }
    }

    #[tokio::test]
    async fn a_lock_that_is_away_stops_nobody() {
        let (house, sale, attempt) = ann_wants_three().await;
        let lock = lock_that_says(|| Err(away()));
        let ports = PurchasePorts { lock, ..house.purchase_ports() };

        let (outcome, ..) = settled(purchase(ports, house.code(&sale, attempt)).await);

        assert_eq!(outcome.total_purchased(), 2);
    }

    #[tokio::test]
    async fn without_any_lock_a_storm_of_repeats_is_decided_once() {
        let (house, sale, attempt) = ann_wants_three().await;
        let lock = lock_that_says(|| Err(away()));
        let storm = Arc::new(Purchase::new(PurchasePorts { lock, ..house.purchase_ports() }));
        let claim = house.code(&sale, attempt);
        let mut race = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let storm = Arc::clone(&storm);
            let command = storm.admit(claim).expect("a genuine code");
            race.spawn(async move { storm.execute(command).await.unwrap() });
        }

        let answers: Vec<_> = race.join_all().await.into_iter().map(settled).collect();

        assert_eq!(answers.iter().filter(|(.., replayed)| !replayed).count(), 1);
        assert!(answers.iter().all(|(outcome, ..)| *outcome == answers[0].0));
    }

    #[tokio::test]
    async fn while_the_first_is_running_a_repeat_is_in_progress_and_the_ledger_decides_nothing() {
        let (house, sale, attempt) = ann_wants_three().await;
        let mut ledger = MockLedger::new();
        ledger.expect_outcome().once().returning(|_, _| Ok(None));
        let lock = lock_that_says(|| Ok(None));
        let ports = PurchasePorts { lock, ledger: Arc::new(ledger), ..house.purchase_ports() };

        let answer = purchase(ports, house.code(&sale, attempt)).await;

        assert!(matches!(answer, Purchased::Refused(RefusalReason::InProgress)));
        let expected = (Operation::Purchase, RefusalReason::InProgress, 1);
        assert_eq!(house.refused(&sale).await, [expected]);
    }

    #[tokio::test]
    async fn a_repeat_that_waited_in_vain_is_told_the_outcome_if_it_is_there_by_now() {
        let (house, sale, attempt) = ann_wants_three().await;
        let code = house.code(&sale, attempt);
        let (first, ..) = settled(purchase(house.purchase_ports(), code).await);
        let lock = lock_that_says(|| Ok(None));

        let ports = PurchasePorts { lock, ..house.purchase_ports() };
        let (again, _, replayed) = settled(purchase(ports, code).await);

        assert_eq!((again, replayed), (first, true));
    }

    #[tokio::test]
    async fn the_lock_is_given_back_also_after_an_error() {
        let (house, sale, attempt) = ann_wants_three().await;
        let mut ledger = MockLedger::new();
        ledger.expect_settle().returning(|_| Err(away()));
        let ports = PurchasePorts { ledger: Arc::new(ledger), ..house.purchase_ports() };

        let claim = house.code(&sale, attempt);
        execute(ports, claim).await.unwrap_err();

        let lock = house.purchase_ports().lock;
        assert!(lock.acquire(sale.id, attempt).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_ledger_that_is_away_is_an_error_and_a_refusal_on_record() {
        let (house, sale, attempt) = ann_wants_three().await;
        let mut ledger = MockLedger::new();
        ledger.expect_settle().returning(|_| Err(away()));
        let ports = PurchasePorts { ledger: Arc::new(ledger), ..house.purchase_ports() };

        let claim = house.code(&sale, attempt);
        let answer = execute(ports, claim).await;

        assert!(matches!(answer, Err(PortError::Unavailable { .. })));
        let expected = (Operation::Purchase, RefusalReason::Unavailable, 1);
        assert_eq!(house.refused(&sale).await, [expected]);
    }

    #[tokio::test]
    async fn a_ledger_that_is_away_while_the_first_is_running_leaves_a_refusal_on_record() {
        let (house, sale, attempt) = ann_wants_three().await;
        let mut ledger = MockLedger::new();
        ledger.expect_outcome().returning(|_, _| Err(away()));
        let lock = lock_that_says(|| Ok(None));
        let ports = PurchasePorts { lock, ledger: Arc::new(ledger), ..house.purchase_ports() };

        let claim = house.code(&sale, attempt);
        execute(ports, claim).await.unwrap_err();

        let expected = (Operation::Purchase, RefusalReason::Unavailable, 1);
        assert_eq!(house.refused(&sale).await, [expected]);
    }

    #[tokio::test]
    async fn items_that_cannot_be_named_are_an_error_and_the_repeat_gets_the_outcome() {
        let (house, sale, attempt) = ann_wants_three().await;
        let mut items = MockItemReader::new();
        items.expect_named().returning(|_, _| Err(away()));
        let board = Board::new(house.shop(), Arc::new(items), house.clock(), 10);
        let ports = PurchasePorts { board: Arc::new(board), ..house.purchase_ports() };

        let claim = house.code(&sale, attempt);
        execute(ports, claim).await.unwrap_err();

        let (outcome, _, replayed) = settled(purchase(house.purchase_ports(), claim).await);
        assert_eq!((outcome.total_purchased(), replayed), (2, true));
    }

    #[tokio::test]
    async fn the_limit_alone_is_counted_as_the_limit() {
        let house = House::open();
        let sale = house.sale(3, 50).await;
        let first = house.shop.stray_attempt(sale.id, buyer("ann"), &[line(1, 10)]);
        let second = house.shop.stray_attempt(sale.id, buyer("ann"), &[line(2, 1)]);
        for attempt in [first, second] {
            purchase(house.purchase_ports(), house.code(&sale, attempt)).await;
        }

        assert_eq!(house.meter.count(Metered::Purchase(PurchaseAnswer::BuyerLimit)), 1);
        assert_eq!(house.meter.count(Metered::Sold(10)), 1);
    }
}
