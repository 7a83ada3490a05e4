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
//! A single request is assumed to come from a new buyer, of whom there is nothing to read: that takes one statement.
//!
//! What was written is remembered in [`recent_writes`](crate::infrastructure::persistence::batch::recent_writes), so that the purchase
//! need not read it.

use std::collections::HashSet;

use async_trait::async_trait;
use sqlx::PgConnection;

use super::attempt_ids::AttemptIds;
use super::basket::{Basket, Baskets};
use super::decide::decide;
use super::rows::SaleRow;
use super::sql;
use super::statements::BatchStatements;
use crate::application::ports::{Collect, Collected, Edit, Effect};
use crate::domain::checkout::{BuyerTotals, Change, Line};
use crate::domain::ids::{AttemptId, ItemNo, SaleId};
use crate::domain::sale::{SaleState, SaleWindow};
use crate::infrastructure::persistence::batch::context::BatchContext;
use crate::infrastructure::persistence::batch::lines::lines_each;
use crate::infrastructure::persistence::batch::recent_writes::OpenCheckout;
use crate::infrastructure::persistence::batch::transaction::{BatchMode, BatchTransaction, Served};
use crate::infrastructure::persistence::idempotency::request::MaybeKeyed;
use crate::infrastructure::persistence::idempotency::rows::{self as key_rows, KeyRow};
use crate::infrastructure::persistence::partitions::Partitions;
use crate::infrastructure::persistence::pool::error::DatabaseError;

/// Collects the lines of a batch.
pub(crate) struct CollectBatch {
    context: BatchContext,
    ids: AttemptIds,
    partitions: Partitions<5>,
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
            && let [MaybeKeyed { request, .. }] = requests
            && let Some(line) = only_line(request)
            && let Some(first) = self.collect_first(connection, &batch, (request, line)).await?
        {
            return Ok(vec![Served::Reply(Some(first))]);
        }
        let buyers = requests.iter().map(|keyed| &keyed.request.buyer);
        let mut baskets: Baskets<'_> =
            buyers.map(|buyer| (buyer.as_str(), Basket::of(buyer))).collect();
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
        let replies = decide(requests, &sale, &mut baskets, ids, &left_out);
        let written = batch.write(connection, &sale, &baskets).await;
        written.inspect_err(|error| self.drop_ids_that_clash(error))?;
        if mode == BatchMode::Pessimistic {
            // It is not committed yet, and what is remembered may be outdated once it is.
            let open = baskets.values().filter_map(Basket::attempt);
            self.context.recent_writes.forget(open);
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

    /// Collects for a buyer who is assumed to be new, in one round trip instead of two. Returns `None` and changes nothing where the
    /// buyer is not new, or where anything else prevents it.
    async fn collect_first(
        &self,
        connection: &mut PgConnection,
        batch: &BatchStatements<'_>,
        (request, line): (&Collect, Line),
    ) -> Result<Option<Collected>, DatabaseError> {
        let recent_writes = &self.context.recent_writes;
        if recent_writes.knows_buyer(batch.sale_id, &request.buyer) {
            return Ok(None);
        }
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
        let with_row = baskets.values().filter(|basket| basket.row.is_some());
        recent_writes.remember_buyers(sale_id, with_row.map(|basket| basket.buyer));
        let written = baskets.into_values().filter(Basket::is_changed);
        recent_writes.remember(written.filter_map(|basket| {
            Some(OpenCheckout {
                sale: sale_id,
                attempt: basket.attempt()?,
                buyer: basket.buyer.clone(),
                version: basket.version(sale.now),
                bought: basket.totals.bought,
                limit: sale.buyer_limit,
                lines: basket.totals.lines,
            })
        }));
    }
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
