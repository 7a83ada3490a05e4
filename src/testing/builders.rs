//! Values for tests.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::application::ports::{
    Collect, Collected, Edit, Event, EventBatch, EventKind, Job, JobSchedule, JobWork,
    KeyedRequest, NewJob, NewWebhook, PortError, Settle, StockFacts, WebhookId, WebhookSecret,
};
use crate::domain::checkout::{BuyerPieces, Line};
use crate::domain::ids::{AttemptId, BuyerId, IdempotencyKey, ItemId, ItemNo, Quantity, SaleId};
use crate::domain::job::{JobId, JobPriority, JobState, ScheduleName};
use crate::domain::sale::{NewSale, Sale, SaleWindow};

/// When [`a_sale`] starts, in seconds after 1970.
pub(crate) const START: i64 = 1_000;
/// How long [`a_sale`] is open.
pub(crate) const HOUR: Duration = Duration::from_hours(1);

/// A sale of one hour from [`START`]: ten items, ten pieces a buyer.
pub(crate) fn a_sale(number: i64) -> Sale {
    Sale {
        id: sale_id(number),
        name: format!("sale {number}"),
        scheduled: false,
        window: SaleWindow::lasting(at(START), HOUR).unwrap(),
        buyer_limit: 10,
        items: 10,
        generation: 1,
    }
}

/// A job of type `noop` that waits.
pub(crate) fn a_job(number: i64) -> Job {
    Job {
        id: JobId::new(number).unwrap(),
        job_type: "noop".to_owned(),
        version: 1,
        payload: "{}".to_owned(),
        priority: JobPriority::Normal,
        state: JobState::Waiting,
        attempts: 0,
        max_attempts: 3,
        run_at: at(START),
        created_at: at(START),
        ended_at: None,
        last_error: None,
        worker: None,
        schedule: None,
    }
}

/// A job of type `noop` to be enqueued.
pub(crate) fn a_new_job() -> NewJob {
    NewJob {
        work: JobWork {
            job_type: "noop",
            version: 1,
            payload: "{}".to_owned(),
            queue: "default",
            max_attempts: 3,
        },
        priority: JobPriority::Normal,
        delay: Duration::ZERO,
        key: None,
        schedule: None,
    }
}

/// A schedule of jobs of type `noop`, every ten seconds, that is not due.
pub(crate) fn a_schedule(name: &str) -> JobSchedule {
    JobSchedule {
        name: ScheduleName::parse(name).unwrap(),
        cron: "*/10 * * * * *".to_owned(),
        time_zone: "UTC".to_owned(),
        job_type: "noop".to_owned(),
        payload_version: 1,
        payload: "{}".to_owned(),
        paused: false,
        next_run_at: None,
        last_run_at: None,
        last_outcome: None,
    }
}

/// A new sale in this window: `items` items with one piece each, ten pieces a buyer.
pub(crate) fn a_new_sale(items: i32, window: SaleWindow) -> NewSale {
    NewSale {
        name: "a sale".to_owned(),
        scheduled: false,
        window,
        buyer_limit: 10,
        items,
        stock: 1,
    }
}

/// A moment, in seconds after 1970.
pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

pub(crate) fn sale_id(number: i64) -> SaleId {
    SaleId::new(number).unwrap()
}

pub(crate) fn attempt_id(number: i64) -> AttemptId {
    AttemptId::new(number).unwrap()
}

pub(crate) fn buyer(name: &str) -> BuyerId {
    BuyerId::parse(name).unwrap()
}

pub(crate) fn item_id(text: &str) -> ItemId {
    ItemId::parse(text).unwrap()
}

pub(crate) fn pieces(count: i32) -> Quantity {
    Quantity::new(count).unwrap()
}

pub(crate) fn line(item: i32, count: i32) -> Line {
    Line { item: ItemNo(item), quantity: pieces(count) }
}

/// Sets `count` pieces of an item in a buyer's checkout.
pub(crate) fn collect(sale: SaleId, who: &str, item: i32, count: i32) -> Collect {
    let edit = Edit::Set(vec![line(item, count)]);
    Collect { sale, buyer: buyer(who), attempt: None, edit, tags: None }
}

/// A purchase of this checkout.
pub(crate) fn settle_of(sale: SaleId, attempt: AttemptId) -> Settle {
    Settle { sale, attempt, buyer: None, terms: None }
}

/// An idempotency key and the content of its request.
pub(crate) fn keyed_request(key: &str, content: &str) -> KeyedRequest {
    KeyedRequest { key: IdempotencyKey::parse(key).unwrap(), content: content.into() }
}

/// Facts that name these items as sold out.
pub(crate) fn sold_out(generation: i64, items: &[i32]) -> StockFacts {
    StockFacts {
        generation,
        sold_out: items.iter().copied().map(ItemNo).collect(),
        sold: Vec::new(),
    }
}

/// The error of a port whose dependency is down.
pub(crate) fn unavailable() -> PortError {
    PortError::Unavailable { what: "a port", source: "unavailable".into() }
}

/// The answer to a buyer who has these pieces and wants more than the limit.
pub(crate) fn over_limit(bought: i32, collected: i32) -> Collected {
    Collected::OverLimit(BuyerPieces { bought, collected })
}

/// A batch at a position: a purchase of each of these buyers, `evt_<position>_<n>`, in the second of its position.
pub(crate) fn batch_of(position: i64, buyers: &[&str]) -> EventBatch {
    let event = |(number, buyer): (usize, &&str)| Event {
        id: format!("evt_{position}_{number}"),
        kind: EventKind::PurchaseSettled,
        order_key: (*buyer).to_owned(),
        time: at(position),
        body: Bytes::from_static(b"{}"),
    };
    let events = buyers.iter().enumerate().map(event).collect();
    EventBatch { position, written_at: at(position), events }
}

/// An endpoint for all events from the beginning, `https://<number>.example/`.
pub(crate) fn new_webhook(number: i64) -> NewWebhook {
    NewWebhook {
        id: WebhookId::new(format!("wh_{number}")),
        url: format!("https://{number}.example/"),
        events: Vec::new(),
        secret: WebhookSecret::new(format!("whsec_{number}")),
        position: 0,
    }
}
