//! What stands behind every purchase: a batch of attempts of one sale, decided and stored together.
//!
//! 1. Read the sale with the clock, the attempts' buyers, their lines, and the wanted items that are not sold out; and the
//!    outcomes of attempts that have one. In [`Mode::Locked`] the buyers' rows are locked first, by the bytes of their ids,
//!    in a statement of its own, because one that waited still reads what was there before; then the items, by number.
//! 2. Let [`settle`] decide.
//! 3. Write, with conditions: the buyer's row as it was read, pieces left for all that is sold. Fewer rows than decided
//!    mean that somebody was faster: the statement fails as a whole.
//!
//! Where this instance has written all of the checkouts itself ([`own_writes`](crate::infrastructure::persistence::batch::recent_writes)) and is alone, the first
//! step is left out: it decides on what it remembers, under the same conditions.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::PgConnection;

use super::rows::{Basis, Decided, KnownBuyer, SaleRow, Time, Written};
use super::{outcomes, sql};
use crate::application::ports::{Decision, Effect, Settle, Settled, StockFacts};
use crate::domain::checkout::Line;
use crate::domain::ids::{AttemptId, SaleId};
use crate::domain::purchase::Outcome;
use crate::domain::sale::{SaleState, SaleWindow};
use crate::domain::settlement::{Allowance, Request, settle};
use crate::infrastructure::persistence::batch::partitions::{Partitions, Statements, sql};
use crate::infrastructure::persistence::batch::splitting::{BatchTransaction, Mode};
use crate::infrastructure::persistence::idempotency::rows::{self, KeyRow};
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;

/// Settles attempts, many in a transaction.
pub(crate) struct SettleBatch {
    database: Database,
    partitions: Partitions<6>,
}

#[async_trait]
impl BatchTransaction for SettleBatch {
    type Request = Settle;
    type Reply = Settled;
    const WHAT: &'static str = "the purchase";

    fn needs_transaction(request: &Settle) -> bool {
        request.key.is_some()
    }

    async fn run(
        &self,
        connection: &mut PgConnection,
        sale: SaleId,
        requests: &[Settle],
        mode: Mode,
    ) -> Result<Vec<Settled>, DatabaseError> {
        let statements = self.partitions.statements(connection, sale).await;
        let statements = statements.map_err(|error| self.database.note(error.into()))?;
        let batch = Batch { database: &self.database, statements: &statements, sale, mode };
        let attempts: Vec<AttemptId> = requests.iter().map(|request| request.attempt).collect();
        if mode == Mode::AtOnce
            && let Some(remembered) = self.database.own_writes().take(sale, &attempts)
        {
            let (basis, buyers) = Basis::remembered(remembered);
            let buyers: Vec<&KnownBuyer> = buyers.iter().collect();
            let mut replies = batch.settle(connection, basis, &buyers).await?;
            return Ok(attempts.iter().map(|attempt| reply_to(*attempt, &mut replies)).collect());
        }
        let Some(read) = batch.read(connection, &attempts).await? else {
            // The sale was dropped, and with it all that its codes stood for.
            return Ok(vec![Settled::Unknown; attempts.len()]);
        };
        let buyers = read.buyers()?;
        let keys = requests
            .iter()
            .map(|wanted| Some((&buyers.get(&wanted.attempt)?.user, wanted.key.as_ref()?)));
        let used = rows::used(&self.database, connection, keys).await?;
        let mut replies = batch.stored(connection, &buyers).await?;
        let mut seen = BTreeSet::new();
        let places = attempts.iter().enumerate().filter(|(place, _)| !used.contains(place));
        let undecided: Vec<&KnownBuyer> = places
            .map(|(_, attempt)| attempt)
            .filter(|attempt| !replies.contains_key(attempt) && seen.insert(**attempt))
            .filter_map(|attempt| buyers.get(attempt))
            .collect();
        if !undecided.is_empty() {
            replies.extend(batch.decide(connection, &read, &undecided).await?);
        }
        let told = attempts.iter().enumerate().map(|(place, attempt)| {
            if used.contains(&place) { Settled::KeyUsed } else { reply_to(*attempt, &mut replies) }
        });
        let told: Vec<Settled> = told.collect();
        rows::insert(&self.database, connection, key_rows_of(requests, &told)).await?;
        Ok(told)
    }

    fn forget(&self, sale: SaleId) {
        self.partitions.forget(sale);
    }
}

impl SettleBatch {
    pub(crate) fn new(database: Database) -> Self {
        Self { database, partitions: Partitions::new(sql::STATEMENTS) }
    }
}

/// The statements of one batch.
struct Batch<'s> {
    database: &'s Database,
    statements: &'s Statements<6>,
    sale: SaleId,
    mode: Mode,
}

impl Batch<'_> {
    async fn read(
        &self,
        connection: &mut PgConnection,
        attempts: &[AttemptId],
    ) -> Result<Option<SaleRow>, DatabaseError> {
        let numbers: BTreeSet<i64> = attempts.iter().map(|attempt| attempt.get()).collect();
        let numbers: Vec<i64> = numbers.into_iter().collect();
        let (statement, timed) = match self.mode {
            Mode::AtOnce | Mode::Among => (sql::READ_AT, Statement::ReadPurchases),
            Mode::Locked => (sql::READ_AND_LOCK_ITEMS_AT, Statement::LockItems),
        };
        if self.mode == Mode::Locked {
            let lock = sqlx::query_scalar::<_, i64>(sql(&self.statements[sql::LOCK_BUYERS_AT]))
                .bind(self.sale.get())
                .bind(&numbers)
                .fetch_one(&mut *connection);
            self.database.time(Statement::LockBuyers, lock).await?;
        }
        let query = sqlx::query_as(sql(&self.statements[statement]));
        let read = query.bind(self.sale.get()).bind(&numbers).fetch_optional(connection);
        self.database.time(timed, read).await
    }

    /// Outcomes of attempts that are not open any more.
    async fn stored(
        &self,
        connection: &mut PgConnection,
        buyers: &HashMap<AttemptId, KnownBuyer>,
    ) -> Result<HashMap<AttemptId, Settled>, DatabaseError> {
        let closed: Vec<i64> = buyers
            .values()
            .filter(|buyer| buyer.open_attempt != Some(buyer.attempt.get()))
            .map(|buyer| buyer.attempt.get())
            .collect();
        if closed.is_empty() {
            return Ok(HashMap::new());
        }
        let stored = outcomes::stored(connection, self.sale, &closed);
        let stored = self.database.time(Statement::ReadOutcomes, stored).await?;
        Ok(stored
            .into_iter()
            .map(|stored| (stored.attempt, Settled::Before(Arc::new(stored.outcome))))
            .collect())
    }

    async fn decide(
        &self,
        connection: &mut PgConnection,
        read: &SaleRow,
        buyers: &[&KnownBuyer],
    ) -> Result<HashMap<AttemptId, Settled>, DatabaseError> {
        let window = SaleWindow::new(read.starts_at, read.ends_at)
            .ok_or(DatabaseError::Unreadable("sales"))?;
        let closed = match window.state_at(read.now) {
            SaleState::Open => None,
            SaleState::Upcoming => Some(Settled::NotStarted),
            SaleState::Ended => Some(Settled::Ended),
        };
        if let Some(closed) = closed {
            return Ok(buyers.iter().map(|buyer| (buyer.attempt, closed.clone())).collect());
        }

        let basis = read.basis();
        let (full, empty): (Vec<&KnownBuyer>, Vec<&KnownBuyer>) =
            buyers.iter().partition(|buyer| basis.lines.contains_key(&buyer.attempt.get()));
        let mut replies = match full[..] {
            [] => HashMap::new(),
            _ => self.settle(connection, basis, &full).await?,
        };
        replies.extend(empty.iter().map(|buyer| (buyer.attempt, Settled::Empty)));
        Ok(replies)
    }

    async fn settle(
        &self,
        connection: &mut PgConnection,
        mut basis: Basis,
        buyers: &[&KnownBuyer],
    ) -> Result<HashMap<AttemptId, Settled>, DatabaseError> {
        let requests: Vec<Request> = buyers
            .iter()
            .map(|buyer| {
                request(buyer, basis.lines.remove(&buyer.attempt.get()).unwrap_or_default())
            })
            .collect();
        let allowances = buyers.iter().map(|buyer| {
            let allowance = Allowance { bought: buyer.bought, limit: buyer.buyer_limit };
            (buyer.user.clone(), allowance)
        });
        let settlement = settle(basis.shelf.clone(), allowances.collect(), &requests);
        let decided =
            Decided { buyers, requests: &requests, basis: &basis, settlement: &settlement };
        let written = self.write(connection, &decided).await?;
        // In a transaction it is not committed yet.
        if self.mode != Mode::Locked {
            self.learn(&decided, &written);
        }
        Ok(replies(&decided, &written))
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        decided: &Decided<'_>,
    ) -> Result<Written, DatabaseError> {
        let stock = decided.stock();
        let buyers = decided.buyers();
        let outcomes = decided.outcomes();
        let lines = decided.lines();
        let statement = match (decided.basis.time, self.mode) {
            (Time::Unread, _) => sql::WRITE_UNREAD_AT,
            (Time::Read(_), Mode::Among) => sql::WRITE_AMONG_AT,
            (Time::Read(_), Mode::AtOnce | Mode::Locked) => sql::WRITE_AT,
        };
        let query = sqlx::query_as(sql(&self.statements[statement]))
            .bind(self.sale.get())
            .bind(&buyers.places)
            .bind(&buyers.users)
            .bind(&buyers.versions)
            .bind(&buyers.pieces)
            .bind(&buyers.closes)
            .bind(&stock.places)
            .bind(&stock.items)
            .bind(&stock.pieces);
        let query = match decided.basis.time {
            Time::Read(now) => query.bind(now),
            Time::Unread => query.bind(decided.basis.generation),
        };
        let query = query
            .bind(&outcomes.attempts)
            .bind(&outcomes.users)
            .bind(&outcomes.totals)
            .bind(&outcomes.failed)
            .bind(&lines.attempts)
            .bind(&lines.items)
            .bind(&lines.quantities)
            .bind(&lines.fates);
        self.database.time(Statement::WritePurchases, query.fetch_one(connection)).await
    }

    /// What was seen or made sold out stays so.
    fn learn(&self, decided: &Decided<'_>, written: &Written) {
        let lines = decided.requests.iter().flat_map(|request| &request.lines);
        let seen =
            lines.map(|line| line.item).filter(|item| !decided.basis.shelf.contains_key(item));
        let own_writes = self.database.own_writes();
        own_writes.learn(self.sale, decided.basis.generation, seen.chain(written.gone()));
    }
}

fn request(buyer: &KnownBuyer, lines: Vec<Line>) -> Request {
    Request { attempt: buyer.attempt, buyer: buyer.user.clone(), lines }
}

fn replies(decided: &Decided<'_>, written: &Written) -> HashMap<AttemptId, Settled> {
    let Decided { buyers, requests, basis, settlement } = *decided;
    let sold_now = written.by_item();
    let mut replies = HashMap::with_capacity(requests.len());
    for (buyer, request) in buyers.iter().zip(requests) {
        let lines = settlement.decided.get(&request.attempt).cloned().unwrap_or_default();
        let mut facts = StockFacts { generation: basis.generation, ..StockFacts::default() };
        for settled in &lines {
            let item = settled.line.item;
            if let Some((stock, sold)) = sold_now.get(&item.0) {
                facts.sold.push((item, *sold));
                if sold == stock {
                    facts.sold_out.push(item);
                }
            } else if !basis.shelf.contains_key(&item) {
                facts.sold_out.push(item);
            }
        }
        let bought = settlement.bought.get(&request.buyer).copied().unwrap_or(0);
        let settled = Settled::Now(Decision {
            outcome: Arc::new(Outcome {
                buyer: request.buyer.clone(),
                purchased_at: written.now,
                lines,
            }),
            facts,
            version: written.now.timestamp_micros(),
            bought: buyer.bought + bought,
        });
        replies.insert(request.attempt, settled);
    }
    replies
}

/// Keys are kept of what was decided now; a repeat finds the outcome without one.
fn key_rows_of<'a>(
    requests: &'a [Settle],
    told: &'a [Settled],
) -> impl Iterator<Item = KeyRow<'a>> {
    requests.iter().zip(told).filter_map(|(request, told)| {
        let Settled::Now(decision) = told else {
            return None;
        };
        let Settle { sale, attempt, key } = request;
        let (key, buyer) = (key.as_ref()?, &decision.outcome.buyer);
        let effect = Effect::Purchased;
        Some(KeyRow { buyer, key, sale: *sale, attempt: *attempt, effect })
    })
}

/// The first caller of an attempt gets the decision, others in the same batch the stored outcome.
fn reply_to(attempt: AttemptId, replies: &mut HashMap<AttemptId, Settled>) -> Settled {
    let Some(reply) = replies.get_mut(&attempt) else {
        return Settled::Unknown;
    };
    match reply {
        Settled::Now(decision) => {
            let repeat = Settled::Before(Arc::clone(&decision.outcome));
            std::mem::replace(reply, repeat)
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::purchase::Fate;
    use crate::infrastructure::persistence::batch::session::Session;
    use crate::infrastructure::persistence::pool::error::ErrorClass;
    use crate::testing::builders::{line, settle_of};
    use crate::testing::contracts::{Scene, Terms};
    use crate::testing::servers::PostgresShop;

    /// The attempts as one batch.
    async fn settled(
        shop: &PostgresShop,
        sale: SaleId,
        attempts: &[AttemptId],
    ) -> Vec<(bool, Vec<Fate>)> {
        let database = shop.database().await;
        let batch = SettleBatch::new(database.clone());
        let wanted: Vec<_> = attempts.iter().map(|attempt| settle_of(sale, *attempt)).collect();
        let replies = Session::default().run(&database, &batch, sale, &wanted).await.unwrap();
        let told = replies.into_iter().map(|reply| match reply {
            Settled::Now(decision) => (true, decision.outcome),
            Settled::Before(outcome) => (false, outcome),
            other => panic!("no outcome: {other:?}"),
        });
        let fates =
            told.map(|(now, outcome)| (now, outcome.lines.iter().map(|line| line.fate).collect()));
        fates.collect()
    }

    #[tokio::test]
    async fn a_code_that_comes_several_times_in_one_batch_is_decided_for_the_first() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(1, 9)).await;
        let ann = scene.attempt("ann", &[(1, 2)]).await;
        let bob = scene.attempt("bob", &[(1, 1)]).await;

        let told = settled(&shop, scene.sale, &[ann, bob, ann, ann]).await;

        let sold = || vec![Fate::Sold];
        assert_eq!(told, [(true, sold()), (true, sold()), (false, sold()), (false, sold())]);
        assert_eq!(scene.progress().await.sold, 3);
    }

    #[tokio::test]
    async fn the_same_item_wanted_by_a_whole_batch_is_sold_to_the_first_who_ask() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(1, 20)).await;
        let mut attempts = Vec::new();
        for number in 0..64 {
            attempts.push(scene.attempt(&format!("buyer-{number}"), &[(1, 1)]).await);
        }

        let told = settled(&shop, scene.sale, &attempts).await;

        let fates: Vec<_> = told.into_iter().map(|(_, fates)| fates[0]).collect();
        assert_eq!(fates, [[Fate::Sold; 20].as_slice(), &[Fate::SoldOut; 44]].concat());
    }

    /// What a batch in this mode comes to while somebody else sells a piece of the only item: whether it lost, and what
    /// was sold in the end.
    async fn beside_a_sale(stock: i32, mode: Mode) -> (bool, i64) {
        let shop = PostgresShop::with_lock_timeout(Duration::from_secs(20)).await;
        let scene = Scene::open(&shop, Terms::stocked(1, stock)).await;
        let wanted = [settle_of(scene.sale, scene.attempt("ann", &[(1, 1)]).await)];
        let database = shop.database().await;
        let batch = SettleBatch::new(database.clone());
        let mut connection = database.acquire().await.unwrap();
        let mut other = shop.pool.begin().await.unwrap();
        let sells = "UPDATE item_stock SET sold = sold + 1 WHERE sale_id = $1";
        sqlx::query(sells).bind(scene.sale.get()).execute(&mut *other).await.unwrap();

        let (result, ()) =
            tokio::join!(batch.run(&mut connection, scene.sale, &wanted, mode), async {
                shop.somebody_waits().await;
                other.commit().await.unwrap();
            });
        let lost = result.is_err_and(|error| error.class() == ErrorClass::Transient);
        (lost, scene.progress().await.sold)
    }

    #[tokio::test]
    async fn a_batch_that_is_alone_loses_to_whoever_sells_the_same_item_at_the_same_time() {
        assert_eq!(beside_a_sale(9, Mode::AtOnce).await, (true, 1));
    }

    #[tokio::test]
    async fn among_others_a_batch_waits_for_them_and_sells_what_they_leave() {
        assert_eq!(beside_a_sale(2, Mode::Among).await, (false, 2));
    }

    #[tokio::test]
    async fn among_others_a_batch_loses_where_they_leave_nothing() {
        assert_eq!(beside_a_sale(1, Mode::Among).await, (true, 1));
    }

    #[tokio::test]
    async fn what_was_seen_sold_out_is_sold_again_after_a_restock() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::unique(1)).await;
        let mut attempts = Vec::new();
        for name in ["ann", "bob", "eve"] {
            attempts.push(scene.attempt(name, &[(1, 1)]).await);
        }
        let fate = async |attempt| scene.decided(attempt).await.outcome.lines[0].fate;
        let before = [fate(attempts[0]).await, fate(attempts[1]).await];
        shop.execute("UPDATE item_stock SET stock = 2").await;
        shop.execute("UPDATE sales SET generation = generation + 1").await;

        assert_eq!(before, [Fate::Sold, Fate::SoldOut]);
        assert_eq!(fate(attempts[2]).await, Fate::Sold);
    }

    #[tokio::test]
    async fn a_buyer_with_two_codes_in_one_batch_has_one_limit() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(2, 100)).await;
        let one = scene.stray("ann", &[line(1, 6)]).await;
        let two = scene.stray("ann", &[line(2, 6)]).await;

        let told = settled(&shop, scene.sale, &[one, two]).await;

        assert_eq!(told, [(true, vec![Fate::Sold]), (true, vec![Fate::BuyerLimit])]);
    }
}
