//! A batch of checkouts of one sale, collected together.
//!
//! 1. Read the sale with the clock, the buyers' rows, the lines of their open attempts, and which requested items are sold out. In
//!    [`BatchMode::Pessimistic`] the buyers' rows are locked first, by the bytes of their ids, in a statement of its own: a statement
//!    that waited for a lock still reads what was there before the wait.
//! 2. Decide each request in order of arrival.
//! 3. Write every buyer's row on the condition that it has the version that was read: another version means that another transaction
//!    was faster, and the statement fails as a whole. It also fails for a buyer who had no row and has got one meanwhile.
//!
//! A request that has an idempotency key, or removes lines, takes more than one writing statement, and so runs in
//! [`BatchMode::Pessimistic`].
//!
//! What was written is remembered in [`recent_writes`](crate::infrastructure::persistence::batch::recent_writes). While no other
//! instance writes, a batch is decided on that, and buyers who are not remembered are assumed to be new: it is written in one statement,
//! on condition that all of it holds. Where it does not, or a request would be refused, the batch begins with 1. The purchase does the
//! same. A single request is always assumed to come from a new buyer, of whom there is nothing to read.

use std::collections::HashSet;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::attempt_ids::AttemptIds;
use super::basket::{Basket, Baskets};
use super::decide::{SaleFacts, decide, set_versions};
use super::rows::{SaleRow, items_of};
use super::sql;
use super::statements::BatchStatements;
use crate::application::ports::{Collect, Collected, Edit, Effect};
use crate::domain::checkout::{BuyerTotals, Change, Line};
use crate::domain::ids::{AttemptId, BuyerId, ItemNo, SaleId};
use crate::domain::sale::{SaleState, SaleWindow};
use crate::infrastructure::persistence::batch::context::BatchContext;
use crate::infrastructure::persistence::batch::lines::lines_each;
use crate::infrastructure::persistence::batch::recent_writes::OpenCheckout;
use crate::infrastructure::persistence::batch::transaction::{BatchMode, BatchTransaction, Served};
use crate::infrastructure::persistence::idempotency::request::MaybeKeyed;
use crate::infrastructure::persistence::idempotency::rows::{self as key_rows, KeyRow};
use crate::infrastructure::persistence::partitions::Partitions;
use crate::infrastructure::persistence::pool::error::{DatabaseError, ErrorClass};

/// Collects the lines of a batch.
pub(crate) struct CollectBatch {
    context: BatchContext,
    ids: AttemptIds,
    partitions: Partitions<6>,
}

#[async_trait]
impl BatchTransaction for CollectBatch {
    type Request = MaybeKeyed<Collect>;
    type Reply = Option<Collected>;
    const WHAT: &'static str = "the checkout";

    fn needs_transaction(keyed: &MaybeKeyed<Collect>) -> bool {
        keyed.key.is_some() || matches!(keyed.request.edit, Edit::Remove(_))
    }

    async fn run(
        &self,
        connection: &mut PgConnection,
        sale_id: SaleId,
        requests: &[MaybeKeyed<Collect>],
        mode: BatchMode,
    ) -> Result<Vec<Served<Option<Collected>>>, DatabaseError> {
        let database = &self.context.database;
        let statements = self.partitions.statements(connection, sale_id).await;
        let statements = statements.map_err(|error| database.record(error.into()))?;
        let batch = BatchStatements { database, statements: &statements, sale_id };
        if mode == BatchMode::Optimistic
            && let Some(replies) = self.collect_unread(connection, &batch, requests).await?
        {
            return Ok(served(replies, &[]));
        }
        let mut baskets = baskets_of(requests);
        if mode == BatchMode::Pessimistic {
            batch.lock_buyers(connection, &baskets).await?;
        }
        let read = batch.read(connection, requests, &mut baskets).await?;
        let keys = requests.iter().map(|keyed| Some((&keyed.request.buyer, keyed.key.as_ref()?)));
        let used = key_rows::used(database, connection, keys).await?;
        let Some(sale) = read else {
            // It was archived, long after its end.
            return Ok(served(closed(requests.len(), &used, &Collected::Ended), &[]));
        };
        let too_long = too_long(requests, &baskets, &used);
        let window = SaleWindow::new(sale.starts_at, sale.ends_at)
            .ok_or(DatabaseError::Unreadable("sales"))?;
        match window.state_at(sale.now) {
            SaleState::Open => {}
            SaleState::Upcoming => {
                return Ok(served(closed(requests.len(), &used, &Collected::NotStarted), &[]));
            }
            SaleState::Ended => {
                return Ok(served(closed(requests.len(), &used, &Collected::Ended), &[]));
            }
        }
        let without_attempt = baskets.values().filter(|basket| basket.open.is_none()).count();
        let ids = self.take_ids(without_attempt, connection).await?;
        let left_out = used.iter().chain(&too_long).copied().collect();
        let mut replies = decide(requests, &sale.facts(), &mut baskets, ids, &left_out);
        set_versions(&mut replies, requests, &baskets, sale.now);
        let written = batch.write(connection, &sale, &baskets).await;
        written.inspect_err(|error| self.drop_ids_that_clash(error))?;
        if mode == BatchMode::Pessimistic {
            // It is not committed yet, and what is remembered may be outdated once it is.
            let (recent_writes, buyers) = (&self.context.recent_writes, baskets.values());
            recent_writes.forget(buyers.clone().filter_map(Basket::attempt));
            // Also where it is rolled back: who is taken for one with a row is only read.
            recent_writes.remember_buyers(sale_id, buyers.map(|basket| basket.buyer));
            let keys = key_rows_of(sale_id, requests, &replies);
            key_rows::insert(database, connection, keys).await?;
        } else {
            self.remember(sale_id, &sale, baskets);
        }
        Ok(served(replies, &too_long))
    }

    fn forget(&self, sale: SaleId) {
        self.partitions.forget(sale);
    }
}

impl CollectBatch {
    pub(crate) fn new(context: BatchContext) -> Self {
        let partitions = Partitions::new(sql::STATEMENTS);
        Self { context, ids: AttemptIds::default(), partitions }
    }

    async fn take_ids(
        &self,
        count: usize,
        connection: &mut PgConnection,
    ) -> Result<Vec<AttemptId>, DatabaseError> {
        let BatchContext { database, contention, .. } = &self.context;
        let ids = self.ids.take(count, database.history().id(), connection, contention).await;
        ids.map_err(|error| database.record(error))
    }

    /// After a clash of numbers, the next try takes a block that no other instance has.
    fn drop_ids_that_clash(&self, error: &DatabaseError) {
        if error.is_clash_of_attempts() {
            self.ids.forget();
        }
    }

    /// Collects in one round trip instead of two, without reading. Returns `None` and changes nothing where something has to be read.
    async fn collect_unread(
        &self,
        connection: &mut PgConnection,
        batch: &BatchStatements<'_>,
        requests: &[MaybeKeyed<Collect>],
    ) -> Result<Option<Vec<Option<Collected>>>, DatabaseError> {
        let BatchContext { contention, recent_writes, .. } = &self.context;
        if let [MaybeKeyed { request, .. }] = requests
            && let Some(line) = only_line(request)
            && !recent_writes.knows_buyer(batch.sale_id, &request.buyer)
        {
            let first = self.collect_first(connection, batch, (request, line)).await?;
            return Ok(first.map(|first| vec![Some(first)]));
        }
        if !contention.may_recall() {
            return Ok(None);
        }
        match self.collect_recalled(connection, batch, requests).await {
            // Nothing was written. A lock that could not be taken in time cannot be taken by reading first either.
            Err(error) if error.class() == ErrorClass::Transient && !error.is_lock_wait() => {
                self.drop_ids_that_clash(&error);
                contention.record_wrong_memory();
                Ok(None)
            }
            result => result,
        }
    }

    /// Collects for buyers whose open checkouts are remembered, or who are assumed to be new. Returns `None` and changes nothing where
    /// something is not remembered, or a request might have to be refused: what refuses is read.
    async fn collect_recalled(
        &self,
        connection: &mut PgConnection,
        batch: &BatchStatements<'_>,
        requests: &[MaybeKeyed<Collect>],
    ) -> Result<Option<Vec<Option<Collected>>>, DatabaseError> {
        let recent_writes = &self.context.recent_writes;
        let mut baskets = baskets_of(requests);
        let buyers: Vec<&BuyerId> = baskets.values().map(|basket| basket.buyer).collect();
        let items = items_of(requests);
        let numbers = items.iter().copied().map(ItemNo);
        let lines_each = lines_each(requests.len());
        let Some(sale) = recent_writes.recall(batch.sale_id, &buyers, numbers, lines_each) else {
            return Ok(None);
        };
        for (basket, open) in baskets.values_mut().zip(sale.buyers) {
            if let Some(open) = open {
                basket.recall(open);
            }
        }
        if !too_long(requests, &baskets, &HashSet::new()).is_empty() {
            return Ok(None);
        }
        let without_attempt = baskets.values().filter(|basket| basket.open.is_none()).count();
        let ids = self.take_ids(without_attempt, connection).await?;
        let (buyer_limit, generation) = (sale.buyer_limit, sale.generation);
        let facts = SaleFacts { buyer_limit, generation, sold_out: HashSet::new() };
        let mut replies = decide(requests, &facts, &mut baskets, ids, &HashSet::new());
        if !replies.iter().all(|reply| matches!(reply, Some(Collected::Added { .. }))) {
            return Ok(None);
        }
        let written = batch.write_recalled(connection, (buyer_limit, &items), &baskets).await?;
        let Some(written) = written else {
            return Ok(None);
        };
        let now = DateTime::from_timestamp_micros(written.version)
            .ok_or(DatabaseError::Unreadable("sales"))?;
        set_versions(&mut replies, requests, &baskets, now);
        recent_writes.remember_sold_out(batch.sale_id, written.generation, []);
        recent_writes.remember(open_checkouts(batch.sale_id, (buyer_limit, now), baskets));
        Ok(Some(replies))
    }

    /// Collects for a buyer who is assumed to be new, in one round trip instead of two. Returns `None` and changes nothing where the
    /// buyer is not new, or where anything else prevents it.
    async fn collect_first(
        &self,
        connection: &mut PgConnection,
        batch: &BatchStatements<'_>,
        (request, line): (&Collect, Line),
    ) -> Result<Option<Collected>, DatabaseError> {
        let recent_writes = &self.context.recent_writes;
        let ids = self.take_ids(1, connection).await?;
        let Some(attempt) = ids.first() else {
            return Ok(None);
        };
        let written = batch.write_first(connection, (request, line), *attempt).await;
        let Some(first) = written.inspect_err(|error| self.drop_ids_that_clash(error))? else {
            return Ok(None);
        };
        let totals = BuyerTotals { lines: vec![line], bought: 0 };
        recent_writes.remember_sold_out(batch.sale_id, first.generation, []);
        recent_writes.remember_limit(batch.sale_id, first.buyer_limit);
        recent_writes.remember([OpenCheckout {
            sale: batch.sale_id,
            attempt: *attempt,
            buyer: request.buyer.clone(),
            version: first.version,
            bought: 0,
            limit: first.buyer_limit,
            lines: totals.lines.clone(),
        }]);
        let (change, version) = (Change::Added, first.version);
        Ok(Some(Collected::Added { attempt: *attempt, created: true, totals, change, version }))
    }

    /// Remembers what a committed batch has read and written.
    fn remember(&self, sale_id: SaleId, sale: &SaleRow, baskets: Baskets<'_>) {
        let recent_writes = &self.context.recent_writes;
        let sold_out = sale.sold_out.iter().copied().map(ItemNo);
        recent_writes.remember_sold_out(sale_id, sale.generation, sold_out);
        recent_writes.remember_limit(sale_id, sale.buyer_limit);
        let with_row = baskets.values().filter(|basket| basket.row.is_some());
        recent_writes.remember_buyers(sale_id, with_row.map(|basket| basket.buyer));
        recent_writes.remember(open_checkouts(sale_id, (sale.buyer_limit, sale.now), baskets));
    }
}

/// The checkouts that a committed batch has changed.
fn open_checkouts(
    sale: SaleId,
    (limit, now): (i32, DateTime<Utc>),
    baskets: Baskets<'_>,
) -> impl Iterator<Item = OpenCheckout> {
    baskets.into_values().filter(Basket::is_changed).filter_map(move |basket| {
        Some(OpenCheckout {
            sale,
            attempt: basket.attempt()?,
            buyer: basket.buyer.clone(),
            version: basket.version(now),
            bought: basket.totals.bought,
            limit,
            lines: basket.totals.lines,
        })
    })
}

fn baskets_of(requests: &[MaybeKeyed<Collect>]) -> Baskets<'_> {
    let buyers = requests.iter().map(|keyed| &keyed.request.buyer);
    buyers.map(|buyer| (buyer.as_str(), Basket::of(buyer))).collect()
}

/// The line, if the request is for one line in whichever checkout is open.
fn only_line(request: &Collect) -> Option<Line> {
    match request.edit.lines() {
        [line] if request.attempt.is_none() => Some(*line),
        _ => None,
    }
}

/// The replies outside the sale's window.
fn closed(requests: usize, used: &HashSet<usize>, reply: &Collected) -> Vec<Option<Collected>> {
    let reply = |index| if used.contains(&index) { None } else { Some(reply.clone()) };
    (0..requests).map(reply).collect()
}

/// The indexes of requests whose lines, together with those in their checkout, are too many for a batch of this size.
fn too_long(
    requests: &[MaybeKeyed<Collect>],
    baskets: &Baskets<'_>,
    used: &HashSet<usize>,
) -> Vec<usize> {
    let lines_each = lines_each(requests.len());
    let stored = baskets.values().map(|basket| basket.totals.lines.len());
    let new = requests.iter().map(|keyed| keyed.request.edit.lines().len());
    if stored.max().unwrap_or(0) + new.max().unwrap_or(0) <= lines_each {
        return Vec::new();
    }
    let is_too_long = |request: &Collect| {
        let stored =
            baskets.get(request.buyer.as_str()).map_or(0, |basket| basket.totals.lines.len());
        stored + request.edit.lines().len() > lines_each
    };
    let long = requests.iter().enumerate().filter(|(_, keyed)| is_too_long(&keyed.request));
    long.map(|(index, _)| index).filter(|index| !used.contains(index)).collect()
}

/// The replies, with the indexes of requests that were left out as too long.
fn served(replies: Vec<Option<Collected>>, too_long: &[usize]) -> Vec<Served<Option<Collected>>> {
    let mut served: Vec<_> = replies.into_iter().map(Served::Reply).collect();
    for index in too_long {
        served[*index] = Served::TooLong;
    }
    served
}

/// The keys to store: of requests that changed a checkout. A refused request may be repeated with its key.
fn key_rows_of<'a>(
    sale: SaleId,
    requests: &'a [MaybeKeyed<Collect>],
    replies: &'a [Option<Collected>],
) -> impl Iterator<Item = KeyRow<'a>> {
    requests.iter().zip(replies).filter_map(move |(MaybeKeyed { request, key }, reply)| {
        let key = key.as_ref()?;
        let Some(Collected::Added { attempt, created, totals, .. }) = reply else {
            return None;
        };
        let effect = Effect::Changed { created: *created, lines: totals.lines.clone() };
        Some(KeyRow { buyer: &request.buyer, key, sale, attempt: *attempt, effect })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::infrastructure::persistence::batch::session;
    use crate::infrastructure::persistence::pool::metrics::Statement;
    use crate::testing::builders::{collect, line, over_limit};
    use crate::testing::contracts::{Scene, Terms};
    use crate::testing::servers::PostgresShop;

    /// Collects so many pieces of an item for a buyer, several of these in one batch, on a new instance.
    async fn collected(
        shop: &PostgresShop,
        sale: SaleId,
        lines: &[(&str, i32, i32)],
    ) -> Vec<Collected> {
        let context = BatchContext::new(shop.database().await);
        let batch = CollectBatch::new(context.clone());
        let lines = lines.iter().map(|(buyer, item, pieces)| collect(sale, buyer, *item, *pieces));
        let requests: Vec<_> = lines.map(MaybeKeyed::unkeyed).collect();
        let served = session::run(&context, &batch, sale, &requests).await.unwrap();
        served.into_iter().filter_map(Served::reply).flatten().collect()
    }

    fn attempts(collected: &[Collected]) -> BTreeSet<AttemptId> {
        let added = collected.iter().filter_map(|reply| match reply {
            Collected::Added { attempt, .. } => Some(*attempt),
            _ => None,
        });
        added.collect()
    }

    #[tokio::test]
    async fn a_buyer_with_several_requests_in_one_batch_has_one_attempt_and_one_limit() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(3, 100)).await;

        let lines = [("ann", 1, 6), ("bob", 1, 1), ("ann", 2, 5), ("ann", 3, 4), ("ann", 1, 5)];
        let replies = collected(&shop, scene.sale, &lines).await;

        assert_eq!(replies[2], over_limit(0, 6));
        assert_eq!(attempts(&replies).len(), 2);
        let totals = scene.added("ann", 2, 1).await.totals;
        assert_eq!(totals.lines, [line(1, 5), line(3, 4), line(2, 1)]);
    }

    #[tokio::test]
    async fn a_single_request_of_a_new_buyer_gets_the_same_replies() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(3, 9)).await;
        shop.execute("UPDATE item_stock SET sold = stock WHERE item_no = 3").await;
        let alone = async |buyer, item, pieces| {
            collected(&shop, scene.sale, &[(buyer, item, pieces)]).await.remove(0)
        };

        let replies = [
            alone("ann", 1, 2).await,
            // Another instance, which does not know that she has a row.
            alone("ann", 2, 1).await,
            alone("bob", 3, 1).await,
            alone("eve", 1, 11).await,
        ];

        let Collected::Added { totals, change, .. } = &replies[0] else { panic!("{replies:?}") };
        assert_eq!((&totals.lines[..], *change), (&[line(1, 2)][..], Change::Added));
        let Collected::Added { totals, .. } = &replies[1] else { panic!("{replies:?}") };
        assert_eq!(totals.lines, [line(1, 2), line(2, 1)]);
        assert!(matches!(replies[2], Collected::SoldOut(_)), "{replies:?}");
        assert_eq!(replies[3], over_limit(0, 0));
        let counted = "SELECT count(*) FROM buyers";
        assert_eq!(sqlx::query_scalar::<_, i64>(counted).fetch_one(&shop.pool).await.unwrap(), 1);
    }

    /// An instance that collects batches of one sale.
    struct Instance<'s> {
        shop: &'s PostgresShop,
        context: BatchContext,
        batch: CollectBatch,
        sale: SaleId,
    }

    impl<'s> Instance<'s> {
        /// One that has collected for zoe, so that it knows the sale.
        async fn warm(shop: &'s PostgresShop, sale: SaleId) -> Self {
            let context = BatchContext::new(shop.database().await);
            let batch = CollectBatch::new(context.clone());
            let instance = Self { shop, context, batch, sale };
            instance.collects(&[("zoe", 3, 1), ("zed", 3, 1)]).await;
            instance
        }

        async fn collects(&self, lines: &[(&str, i32, i32)]) -> Vec<Collected> {
            let collect = |(buyer, item, pieces): &(&str, i32, i32)| {
                MaybeKeyed::unkeyed(collect(self.sale, buyer, *item, *pieces))
            };
            let requests: Vec<_> = lines.iter().map(collect).collect();
            let served = session::run(&self.context, &self.batch, self.sale, &requests).await;
            served.unwrap().into_iter().filter_map(Served::reply).flatten().collect()
        }

        /// Collects, and fails the test unless this took one statement, or more than one.
        async fn collects_in_one(
            &self,
            is_one: bool,
            lines: &[(&str, i32, i32)],
        ) -> Vec<Collected> {
            let reads = self.reads();
            let replies = self.collects(lines).await;
            assert_eq!(self.reads() == reads, is_one, "{lines:?} {replies:?}");
            replies
        }

        /// Statements so far that read a batch.
        fn reads(&self) -> u64 {
            self.context.database.metrics.count(Statement::ReadCheckouts)
        }

        async fn stored(&self, buyer: &str) -> Vec<(i32, i32)> {
            let lines = "SELECT item_no, quantity FROM checkout_items AS i
                         JOIN buyers AS b ON b.open_attempt = i.attempt_id WHERE b.user_id = $1
                         ORDER BY added_at, item_no";
            sqlx::query_as(lines).bind(buyer).fetch_all(&self.shop.pool).await.unwrap()
        }
    }

    fn totals(reply: &Collected) -> &[Line] {
        let Collected::Added { totals, .. } = reply else { panic!("{reply:?}") };
        &totals.lines
    }

    #[tokio::test]
    async fn new_and_remembered_buyers_are_collected_for_without_reading() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(9, 100)).await;
        let instance = Instance::warm(&shop, scene.sale).await;

        let first = [("ann", 1, 2), ("bob", 1, 1), ("ann", 2, 1)];
        let first = instance.collects_in_one(true, &first).await;
        let second = [("bob", 1, 3), ("eve", 2, 1), ("ann", 4, 5)];
        let second = instance.collects_in_one(true, &second).await;

        assert_eq!(totals(&first[2]), [line(1, 2), line(2, 1)]);
        assert_eq!(totals(&second[2]), [line(1, 2), line(2, 1), line(4, 5)]);
        let Collected::Added { created, change, version, .. } = second[0] else { panic!() };
        assert_eq!((created, change), (false, Change::Replaced));
        let stored = "SELECT version FROM buyers WHERE user_id = 'bob'";
        assert_eq!(
            sqlx::query_scalar::<_, i64>(stored).fetch_one(&shop.pool).await.unwrap(),
            version
        );
        assert_eq!(instance.stored("ann").await, [(1, 2), (2, 1), (4, 5)]);
        assert_eq!(instance.stored("bob").await, [(1, 3)]);
        assert_eq!(instance.stored("eve").await, [(2, 1)]);
    }

    #[tokio::test]
    async fn buyers_of_another_instance_keep_what_they_have_collected_there() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(9, 100)).await;
        let (instance, other) =
            (Instance::warm(&shop, scene.sale).await, Instance::warm(&shop, scene.sale).await);
        other.collects(&[("ann", 1, 4), ("al", 1, 1)]).await;
        instance.collects(&[("bob", 1, 1), ("eve", 1, 1)]).await;
        scene.added("bob", 2, 4).await;

        // Ann is not new, and bob's row is not as it is remembered.
        instance.collects_in_one(false, &[("ann", 3, 1), ("carl", 3, 1)]).await;
        assert!(!instance.context.contention.may_recall(), "the next batches are read");
        instance.context.contention.forget();
        instance.collects_in_one(false, &[("bob", 3, 1), ("dora", 3, 1)]).await;

        assert_eq!(instance.stored("ann").await, [(1, 4), (3, 1)]);
        assert_eq!(instance.stored("bob").await, [(1, 1), (2, 4), (3, 1)]);
        assert_eq!(instance.stored("carl").await, [(3, 1)]);
        assert_eq!(instance.stored("dora").await, [(3, 1)]);
    }

    #[tokio::test]
    async fn what_is_remembered_refuses_nothing_and_allows_nothing() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(9, 100)).await;
        let instance = Instance::warm(&shop, scene.sale).await;
        scene.added("ann", 1, 4).await;

        // Without reading, ann would be told that she has nothing.
        let replies = instance.collects_in_one(false, &[("ann", 2, 11), ("bob", 1, 1)]).await;
        assert_eq!(replies[0], over_limit(0, 4));

        shop.execute("UPDATE item_stock SET sold = stock WHERE item_no = 2").await;
        let replies = instance.collects_in_one(false, &[("carl", 2, 1), ("dora", 1, 1)]).await;
        assert!(matches!(replies[0], Collected::SoldOut(_)), "{replies:?}");

        shop.execute("UPDATE sales SET buyer_limit = 3").await;
        let replies = instance.collects_in_one(false, &[("eva", 1, 4), ("finn", 1, 3)]).await;
        assert_eq!(replies[0], over_limit(0, 0));

        shop.execute("UPDATE sales SET ends_at = clock_timestamp()").await;
        let replies = instance.collects_in_one(false, &[("gil", 1, 1), ("hal", 1, 1)]).await;
        assert_eq!(replies, [Collected::Ended, Collected::Ended]);
        assert_eq!(instance.stored("gil").await, []);
    }

    #[tokio::test]
    async fn an_item_that_a_whole_batch_asks_for_is_in_every_checkout() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::unique(1)).await;
        let names: Vec<String> = (0..64).map(|number| format!("buyer-{number}")).collect();

        let lines: Vec<_> = names.iter().map(|name| (name.as_str(), 1, 1)).collect();
        let replies = collected(&shop, scene.sale, &lines).await;

        assert_eq!(attempts(&replies).len(), 64);
    }
}
