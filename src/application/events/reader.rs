//! Reads events: a row of the outbox names the purchases of a batch, and their events are made when they are delivered.
//!
//! Several sinks read the same events at nearly the same time, so the last ones stay in memory.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::application::catalogue::Item;
use crate::application::ports::{
    BatchTotals, Event, EventBatch, EventData, EventFormat, EventHead, EventLog, EventSubjects,
    Outbox, OutboxContent, OutboxRow, OutcomeStore, PortError, SellingBatches,
};
use crate::domain::code::CodeClaim;
use crate::domain::ids::{AttemptId, ItemNo, SaleId};
use crate::domain::purchase::Outcome;

/// Maximum number of rows of one reading.
const ROWS: usize = 64;
/// Maximum number of purchases of one look-up.
const PURCHASES: usize = 500;
/// Maximum number of events in memory, of which each takes about a kilobyte.
const REMEMBERED: usize = 4_096;

/// Makes events of the rows of the outbox.
pub struct EventReader {
    ports: EventReaderPorts,
    recent: Mutex<Recent>,
    ordered: Mutex<Ordered>,
}

/// The ports of [`EventReader`].
pub struct EventReaderPorts {
    /// What transactions wrote.
    pub outbox: Arc<dyn Outbox>,
    /// Reads outcomes.
    pub outcomes: Arc<dyn OutcomeStore>,
    /// Knows sales and their items, and signs codes.
    pub subjects: Arc<dyn EventSubjects>,
    /// Writes events as text.
    pub format: Arc<dyn EventFormat>,
}

/// A row, at a position: a failover that loses commits gives positions again, to other rows.
type RowKey = (i64, Uuid);

/// The last batches that were made.
#[derive(Default)]
struct Recent {
    batches: HashMap<RowKey, Arc<EventBatch>>,
    oldest_first: VecDeque<RowKey>,
    events: usize,
}

impl Recent {
    fn insert(&mut self, key: RowKey, batch: &Arc<EventBatch>) {
        if self.batches.insert(key, Arc::clone(batch)).is_some() {
            return;
        }
        self.oldest_first.push_back(key);
        self.events += batch.events.len();
        while self.events > REMEMBERED
            && let Some(oldest) = self.oldest_first.pop_front()
            && let Some(forgotten) = self.batches.remove(&oldest)
        {
            self.events -= forgotten.events.len();
        }
    }
}

fn key_of(row: &OutboxRow) -> RowKey {
    (row.position, row.batch)
}

/// What was put in order here: the batches in which all instances sell.
#[derive(Default)]
struct Ordered {
    totals: BatchTotals,
    /// Batches since the log's end was read.
    batches: u64,
    end: Option<i64>,
}

impl Ordered {
    /// The log ends here, or has ended here: a position counts events.
    fn ends_at(&mut self, end: i64) {
        if self.end.is_some_and(|before| end < before) {
            return;
        }
        let events = self.end.map_or(0, |before| end - before);
        self.totals.requests += u64::try_from(events).unwrap_or_default();
        self.totals.batches += std::mem::take(&mut self.batches);
        self.end = Some(end);
    }
}

/// The subjects of the events of some rows.
#[derive(Default)]
struct Facts {
    outcomes: HashMap<(SaleId, AttemptId), Outcome>,
    codes: HashMap<(SaleId, AttemptId), CodeClaim>,
    items: HashMap<SaleId, HashMap<ItemNo, Item>>,
}

impl EventReader {
    /// Creates the reader on these ports.
    #[must_use]
    pub fn new(ports: EventReaderPorts) -> Self {
        Self { ports, recent: Mutex::default(), ordered: Mutex::default() }
    }

    fn ordered(&self) -> MutexGuard<'_, Ordered> {
        self.ordered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn order(&self) -> Result<(), PortError> {
        let rows = self.ports.outbox.order().await?;
        self.ordered().batches += rows;
        Ok(())
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The batches of rows, in order.
    async fn batches(&self, rows: Vec<OutboxRow>) -> Result<Vec<Arc<EventBatch>>, PortError> {
        let known: Vec<Option<Arc<EventBatch>>> = {
            let recent = self.recent();
            let find = |row: &OutboxRow| recent.batches.get(&key_of(row)).map(Arc::clone);
            rows.iter().map(find).collect()
        };
        let is_missing = |(row, known): (OutboxRow, &Option<_>)| known.is_none().then_some(row);
        let missing: Vec<OutboxRow> = rows.into_iter().zip(&known).filter_map(is_missing).collect();
        let facts = self.facts(&missing).await?;
        let mut missing = missing.into_iter();
        let mut batches = Vec::with_capacity(known.len());
        for known in known {
            if let Some(batch) = known {
                batches.push(batch);
            } else if let Some(row) = missing.next() {
                let key = key_of(&row);
                let batch = Arc::new(self.batch(row, &facts).await?);
                self.recent().insert(key, &batch);
                batches.push(batch);
            }
        }
        Ok(batches)
    }

    /// Reads what these rows name, in as few look-ups as there are sales.
    async fn facts(&self, rows: &[OutboxRow]) -> Result<Facts, PortError> {
        let mut attempts: BTreeMap<SaleId, Vec<AttemptId>> = BTreeMap::new();
        let mut items: BTreeMap<SaleId, Vec<ItemNo>> = BTreeMap::new();
        let mut signed: BTreeMap<SaleId, Vec<AttemptId>> = BTreeMap::new();
        for row in rows {
            match &row.content {
                OutboxContent::Settled(settled, sold_out) => {
                    attempts.entry(row.sale).or_default().extend(settled);
                    items.entry(row.sale).or_default().extend(sold_out);
                }
                OutboxContent::Cancelled(cancelled) => {
                    let numbers = cancelled.lines.iter().map(|line| line.item);
                    items.entry(row.sale).or_default().extend(numbers);
                    signed.entry(row.sale).or_default().push(cancelled.attempt);
                }
                _ => {}
            }
        }
        let mut facts = Facts::default();
        for (sale, attempts) in attempts {
            let items = items.entry(sale).or_default();
            for attempts in attempts.chunks(PURCHASES) {
                for past in self.ports.outcomes.outcomes(sale, attempts).await? {
                    items.extend(past.outcome.lines.iter().map(|line| line.line.item));
                    signed.entry(sale).or_default().push(past.attempt);
                    facts.outcomes.insert((past.sale, past.attempt), past.outcome);
                }
            }
        }
        for (sale, attempts) in signed {
            let codes = self.ports.subjects.codes(sale, attempts).await?;
            facts.codes.extend(codes.into_iter().map(|code| ((sale, code.attempt), code)));
        }
        for (sale, mut numbers) in items {
            numbers.sort_unstable();
            numbers.dedup();
            let found = self.ports.subjects.items(sale, numbers).await?;
            facts.items.insert(sale, found.into_iter().map(|item| (item.no, item)).collect());
        }
        Ok(facts)
    }

    /// The events of a row. What was removed since then has none: purchases whose sale was dropped.
    async fn batch(&self, row: OutboxRow, facts: &Facts) -> Result<EventBatch, PortError> {
        let OutboxRow { position, batch, written_at, sale, content } = row;
        let head = |number: usize, time: DateTime<Utc>| EventHead {
            id: format!("evt_{}_{number}", batch.simple()),
            time,
        };
        let mut events: Vec<Event> = Vec::new();
        let mut push = |head, data| events.push(self.ports.format.format(head, data));
        match content {
            OutboxContent::Settled(attempts, sold_out) => {
                let none = HashMap::new();
                let items = facts.items.get(&sale).unwrap_or(&none);
                for (number, attempt) in attempts.iter().enumerate() {
                    let purchase = (sale, *attempt);
                    let (Some(outcome), Some(code)) =
                        (facts.outcomes.get(&purchase), facts.codes.get(&purchase))
                    else {
                        continue;
                    };
                    let lines = outcome.lines.iter();
                    let named = lines.filter_map(|line| items.get(&line.line.item)).cloned();
                    let data = EventData::PurchaseSettled(*code, outcome.clone(), named.collect());
                    push(head(number, outcome.purchased_at), data);
                }
                for (number, item) in sold_out.iter().enumerate() {
                    let Some(item) = items.get(item) else { continue };
                    let data = EventData::ItemSoldOut(sale, item.clone());
                    push(head(attempts.len() + number, written_at), data);
                }
            }
            OutboxContent::Cancelled(cancelled) => {
                let none = HashMap::new();
                let items = facts.items.get(&sale).unwrap_or(&none);
                if let Some(code) = facts.codes.get(&(sale, cancelled.attempt)) {
                    let named = cancelled.lines.iter().filter_map(|line| items.get(&line.item));
                    let (time, named) = (cancelled.cancelled_at, named.cloned().collect());
                    push(head(0, time), EventData::PurchaseCancelled(*code, cancelled, named));
                }
            }
            OutboxContent::SaleOpened => {
                if let Some(sale) = self.ports.subjects.sale(sale).await? {
                    push(head(0, sale.window.starts_at()), EventData::SaleOpened(sale));
                }
            }
            OutboxContent::SaleSoldOut => push(head(0, written_at), EventData::SaleSoldOut(sale)),
            OutboxContent::SaleEnded(report) => {
                push(head(0, written_at), EventData::SaleEnded(sale, report));
            }
        }
        Ok(EventBatch { position, written_at, events })
    }
}

#[async_trait]
impl EventLog for EventReader {
    async fn read(&self, after: i64, at_least: usize) -> Result<Vec<EventBatch>, PortError> {
        self.order().await?;
        let rows = self.ports.outbox.read(after, ROWS).await?;
        // Endpoints of webhooks ask for the end; without any, what is read tells how sales go.
        if let Some(last) = rows.last() {
            let is_last = rows.len() < ROWS;
            let end = if is_last { last.position } else { self.ports.outbox.end().await? };
            self.ordered().ends_at(end);
        }
        let (mut position, mut wanted) = (after, Vec::new());
        for row in rows {
            let is_enough =
                usize::try_from(position - after).is_ok_and(|events| events >= at_least);
            // The position counts events, but begins anywhere: the log is cut off behind what is kept.
            if is_enough && !wanted.is_empty() {
                break;
            }
            position = row.position;
            wanted.push(row);
        }
        let batches = self.batches(wanted).await?;
        Ok(batches.iter().map(|batch| EventBatch::clone(batch)).collect())
    }

    async fn end(&self) -> Result<i64, PortError> {
        self.order().await?;
        let end = self.ports.outbox.end().await?;
        self.ordered().ends_at(end);
        Ok(end)
    }
}

impl SellingBatches for EventReader {
    fn totals(&self) -> BatchTotals {
        self.ordered().totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::events::KnownSubjects;
    use crate::application::ports::{
        CancelledPurchase, EventKind, Ledger, MockEventFormat, MockOutbox, MockOutcomeStore,
        PastPurchase,
    };
    use crate::testing::builders::at;
    use crate::testing::test_shop::TestShop;

    /// Names what it is given.
    fn format() -> MockEventFormat {
        let mut format = MockEventFormat::new();
        format.expect_format().returning(|head, data| {
            let (kind, body) = match data {
                EventData::PurchaseSettled(_, outcome, items) => {
                    let items: Vec<String> = items.into_iter().map(|item| item.name).collect();
                    let buyer = outcome.buyer.as_str();
                    (EventKind::PurchaseSettled, format!("{buyer}: {}", items.join(", ")))
                }
                EventData::PurchaseCancelled(_, cancelled, items) => {
                    let items: Vec<String> = items.into_iter().map(|item| item.name).collect();
                    let buyer = cancelled.buyer.as_str();
                    (EventKind::PurchaseCancelled, format!("{buyer}: {}", items.join(", ")))
                }
                EventData::ItemSoldOut(_, item) => (EventKind::ItemSoldOut, item.name),
                EventData::SaleOpened(sale) => (EventKind::SaleOpened, sale.name),
                EventData::SaleSoldOut(sale) => (EventKind::SaleSoldOut, sale.to_string()),
                EventData::SaleEnded(_, report) => (EventKind::SaleEnded, report),
            };
            let order_key = String::new();
            Event { id: head.id, kind, order_key, time: head.time, body: body.into() }
        });
        format
    }

    fn row(position: i64, sale: SaleId, content: OutboxContent) -> OutboxRow {
        let batch = Uuid::from_u128(position.unsigned_abs().into());
        OutboxRow { position, batch, written_at: at(9), sale, content }
    }

    /// A reader of these rows, which may look outcomes up as often.
    fn reader(shop: &TestShop, rows: Vec<OutboxRow>, look_ups: usize) -> EventReader {
        let mut outbox = MockOutbox::new();
        outbox.expect_order().returning(|| Ok(2));
        let mut ends = 0;
        outbox.expect_end().returning(move || {
            ends += 100;
            Ok(ends)
        });
        outbox.expect_read().returning(move |after, at_most| {
            let rest = rows.iter().filter(|row| row.position > after).take(at_most);
            Ok(rest.cloned().collect())
        });
        let mut outcomes = MockOutcomeStore::new();
        let ledger = shop.shop();
        outcomes.expect_outcomes().times(look_ups).returning(move |sale, attempts| {
            let found = attempts.iter().filter_map(|attempt| {
                let outcome =
                    futures_util::future::FutureExt::now_or_never(ledger.outcome(sale, *attempt));
                let outcome = outcome.unwrap().unwrap()?;
                Some(PastPurchase { sale, attempt: *attempt, outcome })
            });
            Ok(found.collect())
        });
        EventReader::new(EventReaderPorts {
            outbox: Arc::new(outbox),
            outcomes: Arc::new(outcomes),
            subjects: Arc::new(KnownSubjects {
                sale_cache: shop.sale_cache(),
                codes: shop.codes(),
            }),
            format: Arc::new(format()),
        })
    }

    fn bodies(batches: &[EventBatch]) -> Vec<(String, String)> {
        let events = batches.iter().flat_map(|batch| &batch.events);
        events
            .map(|event| (event.id.clone(), String::from_utf8(event.body.to_vec()).unwrap()))
            .collect()
    }

    async fn purchase(shop: &TestShop, sale: &crate::domain::sale::Sale, who: &str) -> AttemptId {
        let attempt = shop.attempt(sale, who, &[1]).await;
        shop.shop().settle(crate::testing::builders::settle_of(sale.id, attempt)).await.unwrap();
        attempt
    }

    #[tokio::test]
    async fn a_batch_has_an_event_for_each_purchase_and_each_item_that_it_sold_out() {
        let shop = TestShop::open();
        let sale = shop.sale(2, 2).await;
        let (ann, bob) = (purchase(&shop, &sale, "ann").await, purchase(&shop, &sale, "bob").await);
        let unknown = AttemptId::new(999).unwrap();
        let content = OutboxContent::Settled(vec![ann, unknown, bob], vec![ItemNo(1)]);
        let reader = reader(&shop, vec![row(4, sale.id, content)], 1);

        let read = reader.read(0, 100).await.unwrap();

        let id = |number| format!("evt_00000000000000000000000000000004_{number}");
        let item = |who: &str| format!("{who}Item 1");
        assert_eq!(
            bodies(&read),
            [(id(0), item("ann: ")), (id(2), item("bob: ")), (id(3), item(""))]
        );
        // The second sink gets the same, from memory.
        assert_eq!(reader.read(0, 100).await.unwrap(), read);
    }

    #[tokio::test]
    async fn a_cancellation_is_an_event_with_the_names_of_its_items() {
        let shop = TestShop::open();
        let sale = shop.sale(2, 2).await;
        let cancelled = CancelledPurchase {
            attempt: AttemptId::FIRST,
            buyer: crate::testing::builders::buyer("ann"),
            cancelled_at: at(7),
            lines: vec![crate::testing::builders::line(2, 1)],
            pieces_left: 0,
        };
        let reader = reader(&shop, vec![row(1, sale.id, OutboxContent::Cancelled(cancelled))], 0);

        let read = reader.read(0, 1).await.unwrap();

        let event = &read[0].events[0];
        assert_eq!((event.kind, event.time), (EventKind::PurchaseCancelled, at(7)));
        assert_eq!(bodies(&read)[0].1, "ann: Item 2");
    }

    #[tokio::test]
    async fn no_more_batches_are_read_than_have_as_many_events() {
        let shop = TestShop::open();
        let sale = shop.sale(2, 2).await;
        let rows = (1..=9).map(|number| row(number, sale.id, OutboxContent::SaleSoldOut));
        let reader = reader(&shop, rows.collect(), 0);

        let read = reader.read(2, 3).await.unwrap();

        let positions: Vec<i64> = read.iter().map(|batch| batch.position).collect();
        assert_eq!(positions, [3, 4, 5]);
    }

    #[tokio::test]
    async fn batches_of_all_instances_are_counted_with_their_events() {
        let shop = TestShop::open();
        let reader = reader(&shop, Vec::new(), 0);
        let totals = |requests, batches| BatchTotals { requests, batches };

        reader.end().await.unwrap();
        // What was there before is not counted.
        assert_eq!(reader.totals(), totals(0, 2));
        reader.read(0, 1).await.unwrap();
        assert_eq!(reader.totals(), totals(0, 2));
        reader.end().await.unwrap();

        assert_eq!(reader.totals(), totals(100, 6));
    }

    #[tokio::test]
    async fn what_is_read_tells_how_sales_go_where_nobody_asks_for_the_end() {
        let shop = TestShop::open();
        let sale = shop.sale(2, 2).await;
        let rows = (1..=90).map(|number| row(number, sale.id, OutboxContent::SaleSoldOut));
        let reader = reader(&shop, rows.collect(), 0);
        let read = async |after| {
            reader.read(after, 1).await.unwrap();
            reader.totals()
        };
        let totals = |requests, batches| BatchTotals { requests, batches };

        assert_eq!(read(85).await, totals(0, 2));
        // More than is read at once: the log's end is looked up.
        assert_eq!(read(0).await, totals(10, 4));
        // Read from there, the rows end before what is known.
        assert_eq!(read(85).await, totals(10, 4));
    }

    #[tokio::test]
    async fn a_position_that_a_failover_gave_again_has_the_events_of_its_new_row() {
        let shop = TestShop::open();
        let sale = shop.sale(2, 2).await;
        let reader = reader(&shop, Vec::new(), 0);
        let lost = row(1, sale.id, OutboxContent::SaleOpened);
        let new =
            OutboxRow { batch: Uuid::from_u128(2), ..row(1, sale.id, OutboxContent::SaleSoldOut) };
        reader.batches(vec![lost]).await.unwrap();

        let read = reader.batches(vec![new]).await.unwrap();

        assert_eq!(read[0].events[0].kind, EventKind::SaleSoldOut);
    }

    #[tokio::test]
    async fn the_opening_of_a_sale_has_its_start_as_time() {
        let shop = TestShop::open();
        let sale = shop.sale(2, 2).await;
        let reader = reader(&shop, vec![row(1, sale.id, OutboxContent::SaleOpened)], 0);

        let read = reader.read(0, 1).await.unwrap();

        assert_eq!(read[0].events[0].time, sale.window.starts_at());
        assert_eq!(read[0].written_at, at(9));
    }
}
