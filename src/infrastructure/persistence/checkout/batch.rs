//! What stands behind every checkout: a batch of lines for one sale, collected together.
//!
//! 1. Read the sale with the clock, the buyers' rows, the lines of their open attempts, and which wanted items are sold out.
//!    In [`Mode::Locked`] the buyers' rows are locked first, by the bytes of their ids, in a statement of its own: one that
//!    waited for a lock still reads what was there before.
//! 2. Decide each request in arrival order.
//! 3. Write. Every buyer's row with its version as it was read: another version means that somebody was faster, and the
//!    statement fails as a whole. So it does for a buyer who had no row and whom somebody else has given one.
//!
//! What has an idempotency key, or takes lines away, is written by more than one statement, and so in [`Mode::Locked`].
//!
//! A buyer who is alone is taken for somebody new, who has nothing that could be read: that is one statement.
//!
//! What was written is remembered ([`own_writes`](crate::infrastructure::persistence::batch::recent_writes)), so that the purchase need not read it.

use std::collections::{BTreeSet, HashSet};

use async_trait::async_trait;
use sqlx::PgConnection;

use super::attempt_ids::AttemptIds;
use super::rows::{Basket, Baskets, Columns, SaleRow, decide};
use super::sql;
use crate::application::ports::{Collect, Collected, Edit, Effect};
use crate::domain::checkout::{Change, Line, Standing};
use crate::domain::ids::{AttemptId, ItemNo, SaleId};
use crate::domain::sale::{SaleState, SaleWindow};
use crate::infrastructure::persistence::batch::partitions::{Partitions, Statements, sql};
use crate::infrastructure::persistence::batch::recent_writes::OpenCheckout;
use crate::infrastructure::persistence::batch::splitting::{BatchTransaction, Mode};
use crate::infrastructure::persistence::idempotency::rows::{self, KeyRow};
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;

/// Collects lines, many in a transaction.
pub(crate) struct CollectBatch {
    database: Database,
    ids: AttemptIds,
    partitions: Partitions<5>,
}

/// The first checkout of a buyer, as it was written.
#[derive(Debug, sqlx::FromRow)]
struct FirstRow {
    buyer_limit: i32,
    generation: i64,
    version: i64,
}

#[async_trait]
impl BatchTransaction for CollectBatch {
    type Request = Collect;
    type Reply = Collected;
    const WHAT: &'static str = "the checkout";

    fn needs_transaction(request: &Collect) -> bool {
        request.key.is_some() || matches!(request.edit, Edit::Remove(_))
    }

    async fn run(
        &self,
        connection: &mut PgConnection,
        sale_id: SaleId,
        requests: &[Collect],
        mode: Mode,
    ) -> Result<Vec<Collected>, DatabaseError> {
        let statements = self.partitions.statements(connection, sale_id).await;
        let statements = statements.map_err(|error| self.database.note(error.into()))?;
        let batch = Batch { database: &self.database, statements: &statements, sale_id };
        if mode == Mode::AtOnce
            && let [only] = requests
            && let Some(line) = only_line(only)
            && let Some(collected) = self.collect_first(connection, &batch, (only, line)).await?
        {
            return Ok(vec![collected]);
        }
        let buyers = requests.iter().map(|request| &request.buyer);
        let mut baskets: Baskets<'_> =
            buyers.map(|buyer| (buyer.as_str(), Basket::of(buyer))).collect();
        if mode == Mode::Locked {
            batch.lock_buyers(connection, &baskets).await?;
        }
        let sale = batch.read(connection, requests, &mut baskets).await?;
        let keys = requests.iter().map(|wanted| Some((&wanted.buyer, wanted.key.as_ref()?)));
        let used = rows::used(&self.database, connection, keys).await?;
        let window = SaleWindow::new(sale.starts_at, sale.ends_at)
            .ok_or(DatabaseError::Unreadable("sales"))?;
        match window.state_at(sale.now) {
            SaleState::Open => {}
            SaleState::Upcoming => return Ok(closed(requests, &used, &Collected::NotStarted)),
            SaleState::Ended => return Ok(closed(requests, &used, &Collected::Ended)),
        }
        let without = baskets.values().filter(|basket| basket.open.is_none()).count();
        let ids = self.ids.take(without, connection, self.database.company()).await;
        let ids = ids.map_err(|error| self.database.note(error))?;
        let replies = decide(requests, &sale, &mut baskets, ids, &used);
        batch.write(connection, &sale, &baskets).await?;
        if mode == Mode::Locked {
            // It is not committed yet, and what is remembered may not be so any more.
            let open = baskets.values().filter_map(Basket::attempt);
            self.database.own_writes().forget(open);
            let keys = key_rows_of(sale_id, requests, &replies);
            rows::insert(&self.database, connection, keys).await?;
        } else {
            batch.remember(&sale, baskets);
        }
        Ok(replies)
    }

    fn forget(&self, sale: SaleId) {
        self.partitions.forget(sale);
    }
}

impl CollectBatch {
    pub(crate) fn new(database: Database) -> Self {
        let partitions = Partitions::new(sql::STATEMENTS);
        Self { database, ids: AttemptIds::default(), partitions }
    }

    /// Takes somebody who is alone for somebody new, in one round trip in place of two; `None` where that is not so, or
    /// anything else is in the way: then nothing has happened.
    async fn collect_first(
        &self,
        connection: &mut PgConnection,
        batch: &Batch<'_>,
        (wanted, line): (&Collect, Line),
    ) -> Result<Option<Collected>, DatabaseError> {
        if self.database.own_writes().knows(batch.sale_id, &wanted.buyer) {
            return Ok(None);
        }
        let ids = self.ids.take(1, connection, self.database.company()).await;
        let ids = ids.map_err(|error| self.database.note(error))?;
        let Some(attempt) = ids.first() else {
            return Ok(None);
        };
        let Some(first) = batch.write_first(connection, (wanted, line), *attempt).await? else {
            return Ok(None);
        };
        let standing = Standing { lines: vec![line], bought: 0 };
        let own_writes = self.database.own_writes();
        own_writes.learn(batch.sale_id, first.generation, []);
        own_writes.remember([OpenCheckout {
            sale: batch.sale_id,
            attempt: *attempt,
            buyer: wanted.buyer.clone(),
            version: first.version,
            bought: 0,
            limit: first.buyer_limit,
            lines: standing.lines.clone(),
        }]);
        let (change, version) = (Change::Added, first.version);
        Ok(Some(Collected::Added { attempt: *attempt, created: true, standing, change, version }))
    }
}

/// The statements of one batch.
struct Batch<'s> {
    database: &'s Database,
    statements: &'s Statements<5>,
    sale_id: SaleId,
}

impl Batch<'_> {
    async fn lock_buyers(
        &self,
        connection: &mut PgConnection,
        baskets: &Baskets<'_>,
    ) -> Result<(), DatabaseError> {
        let users: Vec<&str> = baskets.keys().copied().collect();
        let query = sqlx::query_scalar::<_, i64>(sql(&self.statements[sql::LOCK_BUYERS_AT]))
            .bind(self.sale_id.get())
            .bind(users);
        self.database.time(Statement::LockBuyers, query.fetch_one(connection)).await?;
        Ok(())
    }

    async fn read(
        &self,
        connection: &mut PgConnection,
        requests: &[Collect],
        baskets: &mut Baskets<'_>,
    ) -> Result<SaleRow, DatabaseError> {
        let users: Vec<&str> = baskets.keys().copied().collect();
        let wanted = requests.iter().flat_map(|request| request.edit.lines());
        let wanted: BTreeSet<i32> = wanted.map(|line| line.item.0).collect();
        let wanted: Vec<i32> = wanted.into_iter().collect();
        let query = sqlx::query_as(sql(&self.statements[sql::READ_AT]))
            .bind(self.sale_id.get())
            .bind(users)
            .bind(wanted);
        let sale: SaleRow =
            self.database.time(Statement::ReadCheckouts, query.fetch_one(connection)).await?;
        sale.fill(baskets);
        Ok(sale)
    }

    async fn write_first(
        &self,
        connection: &mut PgConnection,
        (wanted, line): (&Collect, Line),
        attempt: AttemptId,
    ) -> Result<Option<FirstRow>, DatabaseError> {
        let query = sqlx::query_as(sql(&self.statements[sql::WRITE_FIRST_AT]))
            .bind(self.sale_id.get())
            .bind(wanted.buyer.as_str())
            .bind(attempt.get())
            .bind(line.item.0)
            .bind(line.quantity.get());
        self.database.time(Statement::WriteCheckouts, query.fetch_optional(connection)).await
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        sale: &SaleRow,
        baskets: &Baskets<'_>,
    ) -> Result<(), DatabaseError> {
        let columns = Columns::of(baskets);
        if columns.attempts.is_empty() && columns.old_attempts.is_empty() {
            return Ok(());
        }
        let query = sqlx::query_scalar::<_, bool>(sql(&self.statements[sql::WRITE_AT]))
            .bind(self.sale_id.get())
            .bind(sale.buyer_limit)
            .bind(&columns.old_places)
            .bind(&columns.old_users)
            .bind(&columns.old_versions)
            .bind(&columns.old_attempts)
            .bind(&columns.new_users)
            .bind(&columns.new_attempts)
            .bind(sale.now)
            .bind(&columns.attempts)
            .bind(&columns.attempt_users)
            .bind(&columns.new_lines.attempts)
            .bind(&columns.new_lines.items)
            .bind(&columns.new_lines.quantities)
            .bind(&columns.old_lines.attempts)
            .bind(&columns.old_lines.items)
            .bind(&columns.old_lines.quantities)
            .bind(sale.version());
        let written = query.fetch_one(&mut *connection);
        self.database.time(Statement::WriteCheckouts, written).await?;
        if columns.gone_items.is_empty() {
            return Ok(());
        }
        let query = sqlx::query(sql(&self.statements[sql::REMOVE_LINES_AT]))
            .bind(self.sale_id.get())
            .bind(&columns.gone_attempts)
            .bind(&columns.gone_items);
        self.database.time(Statement::RemoveLines, query.execute(connection)).await?;
        Ok(())
    }

    fn remember(&self, sale: &SaleRow, baskets: Baskets<'_>) {
        let own_writes = self.database.own_writes();
        own_writes.learn(self.sale_id, sale.generation, sale.sold_out.iter().copied().map(ItemNo));
        let known = baskets.values().filter(|basket| basket.row.is_some());
        own_writes.meet(self.sale_id, known.map(|basket| basket.buyer));
        let written = baskets.into_values().filter(Basket::is_changed);
        own_writes.remember(written.filter_map(|basket| {
            Some(OpenCheckout {
                sale: self.sale_id,
                attempt: basket.attempt()?,
                buyer: basket.buyer.clone(),
                version: sale.version(),
                bought: basket.standing.bought,
                limit: sale.buyer_limit,
                lines: basket.standing.lines,
            })
        }));
    }
}

/// The line, where a request is for one line in whichever checkout is open.
fn only_line(wanted: &Collect) -> Option<Line> {
    match wanted.edit.lines() {
        [line] if wanted.attempt.is_none() => Some(*line),
        _ => None,
    }
}

/// What everybody is told outside the window, but for those whose key was used.
fn closed(requests: &[Collect], used: &HashSet<usize>, reply: &Collected) -> Vec<Collected> {
    let reply = |place| if used.contains(&place) { Collected::KeyUsed } else { reply.clone() };
    (0..requests.len()).map(reply).collect()
}

/// Keys are kept of what was done; what was refused may be asked again.
fn key_rows_of<'a>(
    sale: SaleId,
    requests: &'a [Collect],
    replies: &'a [Collected],
) -> impl Iterator<Item = KeyRow<'a>> {
    requests.iter().zip(replies).filter_map(move |(request, reply)| {
        let key = request.key.as_ref()?;
        let Collected::Added { attempt, created, standing, .. } = reply else {
            return None;
        };
        let effect = Effect::Changed { created: *created, lines: standing.lines.clone() };
        Some(KeyRow { buyer: &request.buyer, key, sale, attempt: *attempt, effect })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infrastructure::persistence::batch::session::Session;
    use crate::testing::builders::{collect, line};
    use crate::testing::contracts::{Scene, Terms};
    use crate::testing::servers::PostgresShop;

    /// The wishes as one batch.
    async fn collected(
        shop: &PostgresShop,
        sale: SaleId,
        wishes: &[(&str, i32, i32)],
    ) -> Vec<Collected> {
        let database = shop.database().await;
        let batch = CollectBatch::new(database.clone());
        let wishes = wishes.iter().map(|(who, item, pieces)| collect(sale, who, *item, *pieces));
        let wishes: Vec<_> = wishes.collect();
        Session::default().run(&database, &batch, sale, &wishes).await.unwrap()
    }

    fn attempts(collected: &[Collected]) -> BTreeSet<AttemptId> {
        let added = collected.iter().filter_map(|reply| match reply {
            Collected::Added { attempt, .. } => Some(*attempt),
            _ => None,
        });
        added.collect()
    }

    #[tokio::test]
    async fn a_buyer_who_comes_several_times_in_one_batch_has_one_attempt_and_one_limit() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(3, 100)).await;

        let wishes = [("ann", 1, 6), ("bob", 1, 1), ("ann", 2, 5), ("ann", 3, 4), ("ann", 1, 5)];
        let replies = collected(&shop, scene.sale, &wishes).await;

        assert_eq!(replies[2], Collected::OverLimit);
        assert_eq!(attempts(&replies).len(), 2);
        let standing = scene.added("ann", 2, 1).await.standing;
        assert_eq!(standing.lines, [line(1, 5), line(3, 4), line(2, 1)]);
    }

    #[tokio::test]
    async fn who_comes_alone_for_the_first_time_gets_what_everybody_gets() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(3, 9)).await;
        shop.execute("UPDATE item_stock SET sold = stock WHERE item_no = 3").await;
        let alone = async |who, item, pieces| {
            collected(&shop, scene.sale, &[(who, item, pieces)]).await.remove(0)
        };

        let told = [
            alone("ann", 1, 2).await,
            // Nobody here has met her yet: she has a row all the same.
            alone("ann", 2, 1).await,
            alone("bob", 3, 1).await,
            alone("eve", 1, 11).await,
        ];

        let Collected::Added { standing, change, .. } = &told[0] else { panic!("{told:?}") };
        assert_eq!((&standing.lines[..], *change), (&[line(1, 2)][..], Change::Added));
        let Collected::Added { standing, .. } = &told[1] else { panic!("{told:?}") };
        assert_eq!(standing.lines, [line(1, 2), line(2, 1)]);
        assert!(matches!(told[2], Collected::SoldOut(_)), "{told:?}");
        assert_eq!(told[3], Collected::OverLimit);
        let counted = "SELECT count(*) FROM buyers";
        assert_eq!(sqlx::query_scalar::<_, i64>(counted).fetch_one(&shop.pool).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn the_same_item_wanted_by_a_whole_batch_is_in_every_checkout() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::unique(1)).await;
        let names: Vec<String> = (0..64).map(|number| format!("buyer-{number}")).collect();

        let wishes: Vec<_> = names.iter().map(|name| (name.as_str(), 1, 1)).collect();
        let replies = collected(&shop, scene.sale, &wishes).await;

        assert_eq!(attempts(&replies).len(), 64);
    }
}
