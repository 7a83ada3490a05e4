//! A batch of purchases of one sale, decided and stored together.
//!
//! 1. Read the sale with the clock, the attempts' buyers and lines, the items in these lines that are not sold out, and the outcomes
//!    of attempts that have one. In [`BatchMode::Pessimistic`] the buyers' rows are locked first, by the bytes of their ids, in a
//!    statement of its own, because a statement that waited for a lock still reads what was there before the wait; then the items, by
//!    number.
//! 2. Let [`settle`] decide.
//! 3. Write on conditions: each buyer's row as it was read, and enough pieces left of every item sold. Fewer rows than decided mean that
//!    another transaction was faster: the statement fails as a whole.
//!
//! Where this instance wrote all of the checkouts itself ([`recent_writes`](crate::infrastructure::persistence::batch::recent_writes))
//! and has no contention, the first step is left out: the decision rests on what is remembered, under the same conditions.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::PgConnection;

use super::rows::{Basis, Decided, KnownBuyer, SaleRow, Written};
use super::statements::BatchStatements;
use super::{replies, sql};
use crate::application::ports::{Effect, Settle, Settled};
use crate::domain::ids::{AttemptId, SaleId};
use crate::domain::sale::{SaleState, SaleWindow};
use crate::domain::settlement::{Allowance, Request, settle};
use crate::domain::terms::{Declined, PurchaseTerms};
use crate::infrastructure::persistence::batch::context::BatchContext;
use crate::infrastructure::persistence::batch::lines::lines_each;
use crate::infrastructure::persistence::batch::recent_writes::RecentWrites;
use crate::infrastructure::persistence::batch::transaction::{BatchMode, BatchTransaction, Served};
use crate::infrastructure::persistence::idempotency::request::MaybeKeyed;
use crate::infrastructure::persistence::idempotency::rows::{self as key_rows, KeyRow};
use crate::infrastructure::persistence::partitions::Partitions;
use crate::infrastructure::persistence::pool::error::DatabaseError;

/// Settles the attempts of a batch.
pub(crate) struct SettleBatch {
    context: BatchContext,
    partitions: Partitions<7>,
}

#[async_trait]
impl BatchTransaction for SettleBatch {
    type Request = MaybeKeyed<Settle>;
    type Reply = Option<Settled>;
    const WHAT: &'static str = "the purchase";

    fn needs_transaction(keyed: &MaybeKeyed<Settle>) -> bool {
        keyed.key.is_some()
    }

    async fn run(
        &self,
        connection: &mut PgConnection,
        sale: SaleId,
        requests: &[MaybeKeyed<Settle>],
        mode: BatchMode,
    ) -> Result<Vec<Served<Option<Settled>>>, DatabaseError> {
        let BatchContext { database, recent_writes, .. } = &self.context;
        let statements = self.partitions.statements(connection, sale).await;
        let statements = statements.map_err(|error| database.record(error.into()))?;
        let statements = BatchStatements { database, statements: &statements, sale, mode };
        let lines_each = lines_each(requests.len());
        let batch = Batch { statements, recent_writes, lines_each };
        let attempts: Vec<AttemptId> = requests.iter().map(|keyed| keyed.request.attempt).collect();
        // What is remembered is confirmed by what is written; where nothing may be written, it is not enough.
        let has_terms = requests.iter().any(|keyed| keyed.request.terms.is_some());
        if mode == BatchMode::Optimistic
            && !has_terms
            && let Some(remembered) = recent_writes.take(sale, &attempts, lines_each)
        {
            let (basis, buyers) = Basis::remembered(remembered);
            // What is remembered is in the order of the requests. A request for another buyer's checkout is refused below.
            let mut owners = requests.iter().zip(&buyers);
            if owners.all(|(keyed, known)| keyed.request.is_for(&known.user)) {
                let undecided = buyers.iter().map(Undecided::without_terms).collect();
                let Decisions { mut settled, .. } =
                    batch.settle(connection, basis, undecided).await?;
                let replies = attempts.iter().map(|attempt| replies::next(*attempt, &mut settled));
                return Ok(replies.map(Some).map(Served::Reply).collect());
            }
        }
        let Some(read) = batch.statements.read(connection, &attempts, lines_each).await? else {
            // The sale was dropped, and with it everything that its codes stood for.
            let unknown = || Served::Reply(Some(Settled::Unknown));
            return Ok(attempts.iter().map(|_| unknown()).collect());
        };
        let buyers = read.buyers()?;
        let keys = requests
            .iter()
            .map(|keyed| Some((&buyers.get(&keyed.request.attempt)?.user, keyed.key.as_ref()?)));
        let others = others(requests, &buyers);
        let used = key_rows::used(database, connection, keys).await?;
        let mut settled = batch.statements.stored(connection, &buyers).await?;
        let is_left_out = |index| used.contains(&index) || others.contains(&index);
        let undecided = undecided(requests, is_left_out, &buyers, &settled);
        let mut declined = HashMap::new();
        if !undecided.is_empty() {
            let decisions = batch.decide(connection, &read, undecided).await?;
            settled.extend(decisions.settled);
            declined = decisions.declined;
        }
        let served = attempts.iter().enumerate().map(|(index, attempt)| {
            if others.contains(&index) {
                Served::Reply(Some(Settled::OtherBuyer))
            } else if used.contains(&index) {
                Served::Reply(None)
            } else if let Some(declined) = declined.remove(&index) {
                Served::Reply(Some(Settled::Declined(declined)))
            } else if buyers.contains_key(attempt) && !settled.contains_key(attempt) {
                Served::TooLong
            } else {
                Served::Reply(Some(replies::next(*attempt, &mut settled)))
            }
        });
        let served: Vec<Served<Option<Settled>>> = served.collect();
        key_rows::insert(database, connection, key_rows_of(requests, &served)).await?;
        Ok(served)
    }

    fn forget(&self, sale: SaleId) {
        self.partitions.forget(sale);
    }
}

impl SettleBatch {
    pub(crate) fn new(context: BatchContext) -> Self {
        Self { context, partitions: Partitions::new(sql::STATEMENTS) }
    }
}

/// The places of requests for the checkouts of other buyers than they are on behalf of.
fn others(
    requests: &[MaybeKeyed<Settle>],
    buyers: &HashMap<AttemptId, KnownBuyer>,
) -> HashSet<usize> {
    let is_others = |request: &Settle| {
        buyers.get(&request.attempt).is_some_and(|known| !request.is_for(&known.user))
    };
    let places = requests.iter().enumerate().filter(|(_, keyed)| is_others(&keyed.request));
    places.map(|(place, _)| place).collect()
}

/// The requests for attempts without an outcome, but those that are left out.
fn undecided<'b>(
    requests: &[MaybeKeyed<Settle>],
    is_left_out: impl Fn(usize) -> bool,
    buyers: &'b HashMap<AttemptId, KnownBuyer>,
    settled: &HashMap<AttemptId, Settled>,
) -> Vec<Undecided<'b>> {
    let mut seen = BTreeSet::new();
    let requests = requests.iter().map(|keyed| &keyed.request).enumerate();
    let executed = requests.filter(|(index, _)| !is_left_out(*index)).filter(|(_, request)| {
        // Each request has its own terms, and the first that meets them is decided.
        let is_first = request.terms.is_some() || seen.insert(request.attempt);
        is_first && !settled.contains_key(&request.attempt)
    });
    let undecided = executed.filter_map(|(index, request)| {
        let buyer = buyers.get(&request.attempt)?;
        Some(Undecided { index, buyer, terms: request.terms.clone() })
    });
    undecided.collect()
}

/// A request for an attempt without an outcome.
struct Undecided<'a> {
    /// Its place among the requests.
    index: usize,
    buyer: &'a KnownBuyer,
    terms: Option<Arc<PurchaseTerms>>,
}

impl<'a> Undecided<'a> {
    fn without_terms(buyer: &'a KnownBuyer) -> Self {
        Self { index: 0, buyer, terms: None }
    }
}

/// What was decided in a batch.
#[derive(Default)]
struct Decisions {
    settled: HashMap<AttemptId, Settled>,
    /// By the place among the requests.
    declined: HashMap<usize, Declined>,
}

/// Decides and writes.
struct Batch<'s> {
    statements: BatchStatements<'s>,
    recent_writes: &'s RecentWrites,
    /// Most lines of an attempt.
    lines_each: usize,
}

impl Batch<'_> {
    /// Decides attempts without an outcome, if the sale is open and there is anything in them, but not those that are too long for
    /// the batch.
    async fn decide(
        &self,
        connection: &mut PgConnection,
        read: &SaleRow,
        undecided: Vec<Undecided<'_>>,
    ) -> Result<Decisions, DatabaseError> {
        let window = SaleWindow::new(read.starts_at, read.ends_at)
            .ok_or(DatabaseError::Unreadable("sales"))?;
        let closed = match window.state_at(read.now) {
            SaleState::Open => None,
            SaleState::Upcoming => Some(Settled::NotStarted),
            SaleState::Ended => Some(Settled::Ended),
        };
        if let Some(closed) = closed {
            let closed = undecided.iter().map(|it| (it.buyer.attempt, closed.clone()));
            return Ok(Decisions { settled: closed.collect(), ..Decisions::default() });
        }

        let basis = read.basis();
        let lines =
            |it: &Undecided<'_>| basis.lines.get(&it.buyer.attempt.get()).map_or(0, Vec::len);
        let (mut with_lines, empty): (Vec<_>, Vec<_>) =
            undecided.into_iter().partition(|it| lines(it) > 0);
        with_lines.retain(|it| lines(it) <= self.lines_each);
        let mut decisions = match with_lines[..] {
            [] => Decisions::default(),
            _ => self.settle(connection, basis, with_lines).await?,
        };
        for Undecided { index, buyer, terms } in empty {
            match terms.map(|terms| terms.check(&[])) {
                Some(Err(declined)) => {
                    decisions.declined.insert(index, declined);
                }
                _ => {
                    decisions.settled.insert(buyer.attempt, Settled::Empty);
                }
            }
        }
        Ok(decisions)
    }

    async fn settle(
        &self,
        connection: &mut PgConnection,
        mut basis: Basis,
        undecided: Vec<Undecided<'_>>,
    ) -> Result<Decisions, DatabaseError> {
        let has_terms = undecided.iter().any(|undecided| undecided.terms.is_some());
        let mut lines = std::mem::take(&mut basis.lines);
        let mut lines_of = |attempt: AttemptId| {
            // Only with terms an attempt can occur twice.
            let lines = if has_terms {
                lines.get(&attempt.get()).cloned()
            } else {
                lines.remove(&attempt.get())
            };
            lines.unwrap_or_default()
        };
        let requests: Vec<Request> = undecided
            .iter()
            .map(|Undecided { buyer, terms, .. }| Request {
                attempt: buyer.attempt,
                buyer: buyer.user.clone(),
                lines: lines_of(buyer.attempt),
                terms: terms.clone(),
            })
            .collect();
        let allowances = undecided.iter().map(|Undecided { buyer, .. }| {
            let allowance = Allowance { bought: buyer.bought, limit: buyer.buyer_limit };
            (buyer.user.clone(), allowance)
        });
        let mut settlement = settle(basis.remaining.clone(), allowances.collect(), &requests);
        let declined = std::mem::take(&mut settlement.declined);
        let mut seen = HashSet::new();
        let (buyers, requests): (Vec<&KnownBuyer>, Vec<Request>) = undecided
            .iter()
            .map(|undecided| undecided.buyer)
            .zip(requests)
            .enumerate()
            .filter(|(place, (_, request))| {
                !has_terms || (!declined.contains_key(place) && seen.insert(request.attempt))
            })
            .map(|(_, decided)| decided)
            .unzip();
        let by_index = |(place, declined): (usize, Declined)| (undecided[place].index, declined);
        let declined: HashMap<usize, Declined> = declined.into_iter().map(by_index).collect();
        if requests.is_empty() {
            return Ok(Decisions { settled: HashMap::new(), declined });
        }
        let decided = Decided {
            buyers: &buyers,
            requests: &requests,
            basis: &basis,
            settlement: &settlement,
        };
        let written = self.statements.write(connection, &decided).await?;
        // In a transaction it is not committed yet.
        if self.statements.mode != BatchMode::Pessimistic {
            self.remember_sold_out(&decided, &written);
        }
        Ok(Decisions { settled: replies::of_decided(&decided, &written), declined })
    }

    /// Remembers the items that were sold out before, or are so now.
    fn remember_sold_out(&self, decided: &Decided<'_>, written: &Written) {
        let Decided { requests, basis, .. } = *decided;
        let items = requests.iter().flat_map(|request| &request.lines).map(|line| line.item);
        let before = items.filter(|item| !basis.remaining.contains_key(item));
        let sold_out = before.chain(written.sold_out());
        self.recent_writes.remember_sold_out(self.statements.sale, basis.generation, sold_out);
    }
}

/// The keys to store: of attempts decided now. A repeat finds the outcome without a key.
fn key_rows_of<'a>(
    requests: &'a [MaybeKeyed<Settle>],
    served: &'a [Served<Option<Settled>>],
) -> impl Iterator<Item = KeyRow<'a>> {
    requests.iter().zip(served).filter_map(|(MaybeKeyed { request, key }, served)| {
        let Served::Reply(Some(Settled::Now(decision))) = served else {
            return None;
        };
        let (key, buyer) = (key.as_ref()?, &decision.outcome.buyer);
        let Settle { sale, attempt, .. } = *request;
        Some(KeyRow { buyer, key, sale, attempt, effect: Effect::Purchased })
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::purchase::LineOutcome;
    use crate::infrastructure::persistence::batch::session;
    use crate::infrastructure::persistence::pool::error::ErrorClass;
    use crate::testing::builders::{line, settle_of};
    use crate::testing::contracts::{Scene, Terms};
    use crate::testing::servers::PostgresShop;

    /// Settles the attempts in one batch, on a new instance. Returns whether each was decided now, and the outcomes of its lines.
    async fn settled(
        shop: &PostgresShop,
        sale: SaleId,
        attempts: &[AttemptId],
    ) -> Vec<(bool, Vec<LineOutcome>)> {
        let context = BatchContext::new(shop.database().await);
        let batch = SettleBatch::new(context.clone());
        let requests = attempts.iter().map(|attempt| settle_of(sale, *attempt));
        let requests: Vec<_> = requests.map(MaybeKeyed::unkeyed).collect();
        let served = session::run(&context, &batch, sale, &requests).await.unwrap();
        let outcomes =
            served.into_iter().filter_map(Served::reply).flatten().map(|reply| match reply {
                Settled::Now(decision) => (true, decision.outcome),
                Settled::Before(outcome) => (false, outcome),
                other => panic!("no outcome: {other:?}"),
            });
        let line_outcomes = outcomes
            .map(|(now, outcome)| (now, outcome.lines.iter().map(|line| line.outcome).collect()));
        line_outcomes.collect()
    }

    #[tokio::test]
    async fn an_attempt_requested_several_times_in_one_batch_is_decided_for_the_first_request() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(1, 9)).await;
        let ann = scene.attempt("ann", &[(1, 2)]).await;
        let bob = scene.attempt("bob", &[(1, 1)]).await;

        let settled = settled(&shop, scene.sale, &[ann, bob, ann, ann]).await;

        let sold = || vec![LineOutcome::Sold];
        assert_eq!(settled, [(true, sold()), (true, sold()), (false, sold()), (false, sold())]);
        assert_eq!(scene.progress().await.sold, 3);
    }

    #[tokio::test]
    async fn an_item_that_a_whole_batch_asks_for_is_sold_to_the_first_requests() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(1, 20)).await;
        let mut attempts = Vec::new();
        for number in 0..64 {
            attempts.push(scene.attempt(&format!("buyer-{number}"), &[(1, 1)]).await);
        }

        let settled = settled(&shop, scene.sale, &attempts).await;

        let line_outcomes: Vec<_> =
            settled.into_iter().map(|(_, line_outcomes)| line_outcomes[0]).collect();
        assert_eq!(
            line_outcomes,
            [[LineOutcome::Sold; 20].as_slice(), &[LineOutcome::SoldOut; 44]].concat()
        );
    }

    /// Runs a batch in this mode while another transaction sells a piece of the only item. Returns whether the batch lost the race,
    /// and the pieces sold in the end.
    async fn beside_another_seller(stock: i32, mode: BatchMode) -> (bool, i64) {
        let shop = PostgresShop::with_lock_timeout(Duration::from_secs(20)).await;
        let scene = Scene::open(&shop, Terms::stocked(1, stock)).await;
        let request = settle_of(scene.sale, scene.attempt("ann", &[(1, 1)]).await);
        let requests = [MaybeKeyed::unkeyed(request)];
        let context = BatchContext::new(shop.database().await);
        let mut connection = context.database.acquire().await.unwrap();
        let batch = SettleBatch::new(context);
        let mut other = shop.pool.begin().await.unwrap();
        let sell = "UPDATE item_stock SET sold = sold + 1 WHERE sale_id = $1";
        sqlx::query(sell).bind(scene.sale.get()).execute(&mut *other).await.unwrap();

        let (result, ()) =
            tokio::join!(batch.run(&mut connection, scene.sale, &requests, mode), async {
                shop.wait_until_blocked().await;
                other.commit().await.unwrap();
            });
        let lost = result.is_err_and(|error| error.class() == ErrorClass::Transient);
        (lost, scene.progress().await.sold)
    }

    #[tokio::test]
    async fn an_optimistic_batch_loses_to_a_concurrent_sale_of_the_same_item() {
        assert_eq!(beside_another_seller(9, BatchMode::Optimistic).await, (true, 1));
    }

    #[tokio::test]
    async fn a_contended_batch_waits_for_others_and_sells_what_they_leave() {
        assert_eq!(beside_another_seller(2, BatchMode::Contended).await, (false, 2));
    }

    #[tokio::test]
    async fn a_contended_batch_loses_where_others_leave_nothing() {
        assert_eq!(beside_another_seller(1, BatchMode::Contended).await, (true, 1));
    }

    #[tokio::test]
    async fn a_remembered_sold_out_item_is_sold_again_after_a_restock() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::unique(1)).await;
        let mut attempts = Vec::new();
        for name in ["ann", "bob", "eve"] {
            attempts.push(scene.attempt(name, &[(1, 1)]).await);
        }
        let outcome = async |attempt| scene.decided(attempt).await.outcome.lines[0].outcome;
        let before = [outcome(attempts[0]).await, outcome(attempts[1]).await];
        shop.execute("UPDATE item_stock SET stock = 2").await;
        shop.execute("UPDATE sales SET generation = generation + 1").await;

        assert_eq!(before, [LineOutcome::Sold, LineOutcome::SoldOut]);
        assert_eq!(outcome(attempts[2]).await, LineOutcome::Sold);
    }

    #[tokio::test]
    async fn a_buyer_with_two_codes_in_one_batch_has_one_limit() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(2, 100)).await;
        let one = scene.extra_attempt("ann", &[line(1, 6)]).await;
        let two = scene.extra_attempt("ann", &[line(2, 6)]).await;

        let settled = settled(&shop, scene.sale, &[one, two]).await;

        assert_eq!(
            settled,
            [(true, vec![LineOutcome::Sold]), (true, vec![LineOutcome::BuyerLimit])]
        );
    }
}
