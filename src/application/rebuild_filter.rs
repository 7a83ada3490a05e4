//! Rebuild the filter: make the shared filter of sold-out items anew from what PostgreSQL holds.
//!
//! A filter only ever grows, so a restocked item would stay in it; and after Redis lost everything there is none. One
//! instance rebuilds it for all. The rebuild is announced before the facts are read: an item that sells out after the
//! reading is added to the new filter by whoever sold it.

use std::sync::Arc;
use std::time::Duration;

use super::board::Board;
use super::ports::{FilterBuilder, ItemReader, Leadership, PortError};

/// Rebuilds the filters of all open sales.
pub struct RebuildFilter {
    board: Arc<Board>,
    items: Arc<dyn ItemReader>,
    filter: Arc<dyn FilterBuilder>,
    leadership: Arc<dyn Leadership>,
    interval: Duration,
}

impl RebuildFilter {
    /// Rebuilds every `interval`, whoever leads.
    #[must_use]
    pub fn new(
        board: Arc<Board>,
        items: Arc<dyn ItemReader>,
        filter: Arc<dyn FilterBuilder>,
        leadership: Arc<dyn Leadership>,
        interval: Duration,
    ) -> Self {
        Self { board, items, filter, leadership, interval }
    }

    /// Rebuilds once, unless another instance leads. What it read teaches this instance's board as well.
    pub async fn execute(&self) -> Result<(), PortError> {
        // A term of two intervals: the leader renews it in time, and a dead one is followed soon.
        if !self.leadership.lead("filter", self.interval * 2).await? {
            return Ok(());
        }
        for known in self.board.open() {
            let totals = self.filter.begin(&known.sale).await?;
            let stock = self.items.stock(known.sale.id).await?;
            self.board.learn(known.sale.id, &stock.facts);
            self.filter.publish(&known.sale, &stock, totals).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mockall::Sequence;

    use super::*;
    use crate::application::ports::{
        Belief, Knock, MockFilterBuilder, MockItemReader, MockLeadership, SharedMemory,
        StockSnapshot, Totals,
    };
    use crate::domain::ids::ItemNo;
    use crate::domain::sale::Sale;
    use crate::testing::builders::{away, buyer, line};
    use crate::testing::fakes::FakeTerms;
    use crate::testing::house::House;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn rebuild(house: &House, leadership: Arc<dyn Leadership>) -> RebuildFilter {
        let (board, items) = (house.board(), house.shop());
        RebuildFilter::new(board, items, house.memory(), leadership, INTERVAL)
    }

    fn leader(house: &House) -> Arc<dyn Leadership> {
        FakeTerms::new(house.clock()).instance(1)
    }

    async fn belief(house: &House, sale: &Sale, item: i32) -> Belief {
        let sale = Arc::new(sale.clone());
        house
            .memory
            .believes(Knock { sale, buyer: buyer("ann"), line: line(item, 1) })
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn afterwards_the_memory_and_the_board_know_what_sold_out() {
        let house = House::open();
        let sale = house.sale(3, 1).await;
        house.bought(&sale, "bob", &[2]).await;
        let leader = leader(&house);

        rebuild(&house, leader).execute().await.unwrap();

        let beliefs = (belief(&house, &sale, 1).await, belief(&house, &sale, 2).await);
        assert_eq!(beliefs, (Belief::Fine, Belief::ItemInFilter));
        let known = house.board.find(sale.id).await.unwrap().unwrap();
        assert!(known.is_sold_out(ItemNo(2)));
    }

    #[tokio::test]
    async fn a_restocked_item_is_in_the_next_filter_no_more() {
        let house = House::open();
        let sale = house.sale(3, 1).await;
        house.bought(&sale, "bob", &[2]).await;
        let leader = leader(&house);
        let rebuild = rebuild(&house, leader);
        rebuild.execute().await.unwrap();
        house.shop.set_stock(sale.id, ItemNo(2), 2);
        house.board.refresh().await.unwrap();

        rebuild.execute().await.unwrap();

        assert_eq!(belief(&house, &sale, 2).await, Belief::Fine);
    }

    #[tokio::test]
    async fn after_the_memory_lost_everything_it_knows_all_again() {
        let house = House::open();
        let sale = house.sale(2, 1).await;
        house.bought(&sale, "bob", &[1, 2]).await;
        let leader = leader(&house);
        let rebuild = rebuild(&house, leader);
        rebuild.execute().await.unwrap();
        house.memory.lose_everything();

        rebuild.execute().await.unwrap();

        assert_eq!(belief(&house, &sale, 1).await, Belief::SaleSoldOut);
    }

    #[tokio::test]
    async fn whoever_does_not_lead_does_nothing() {
        let house = House::open();
        house.sale(2, 1).await;
        let mut follower = MockLeadership::new();
        follower.expect_lead().returning(|_, _| Ok(false));
        let untouched = Arc::new(MockFilterBuilder::new());
        let (board, items) = (house.board(), house.shop());

        let idle = RebuildFilter::new(board, items, untouched, Arc::new(follower), INTERVAL);

        idle.execute().await.unwrap();
    }

    #[tokio::test]
    async fn the_rebuild_is_announced_before_the_facts_are_read() {
        let house = House::open();
        house.sale(2, 1).await;
        let mut order = Sequence::new();
        let (mut filter, mut items) = (MockFilterBuilder::new(), MockItemReader::new());
        let begin = filter.expect_begin().once().in_sequence(&mut order);
        begin.returning(|_| Ok(Totals::Missing));
        items
            .expect_stock()
            .once()
            .in_sequence(&mut order)
            .returning(|_| Ok(StockSnapshot::default()));
        filter.expect_publish().once().in_sequence(&mut order).returning(|_, _, _| Ok(()));
        let leader = leader(&house);

        let board = house.board();
        let rebuild =
            RebuildFilter::new(board, Arc::new(items), Arc::new(filter), leader, INTERVAL);

        rebuild.execute().await.unwrap();
    }

    #[tokio::test]
    async fn each_port_that_fails_is_an_error() {
        let house = House::open();
        house.sale(2, 1).await;
        let mut nobody_leads = MockLeadership::new();
        nobody_leads.expect_lead().returning(|_, _| Err(away()));
        let mut no_filter = MockFilterBuilder::new();
        no_filter.expect_begin().returning(|_| Err(away()));
        let mut no_items = MockItemReader::new();
        no_items.expect_stock().returning(|_| Err(away()));
        let leader = leader(&house);
        let board = || house.board();

        let failing = [
            rebuild(&house, Arc::new(nobody_leads)),
            RebuildFilter::new(
                board(),
                house.shop(),
                Arc::new(no_filter),
                Arc::clone(&leader),
                INTERVAL,
            ),
            RebuildFilter::new(board(), Arc::new(no_items), house.memory(), leader, INTERVAL),
        ];

        for rebuild in failing {
            assert!(rebuild.execute().await.is_err());
        }
    }
}
