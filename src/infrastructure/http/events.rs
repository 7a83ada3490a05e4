//! Events as CloudEvents 1.0 in JSON. Their data is what version 2 answers for the same thing.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::model::purchase::Purchase;
use super::model::time::rfc3339;
use super::v2::sale_body::ListedSale;
use crate::application::browse;
use crate::application::catalogue::Item;
use crate::application::ports::{
    CancelledPurchase, Event, EventData, EventFormat, EventHead, EventKind,
};
use crate::domain::code::CodeClaim;
use crate::domain::sale::SaleState;

/// Writes events.
pub(crate) struct CloudEvents {
    source: Box<str>,
}

/// The attributes of CloudEvents, in the order in which the specification lists them.
#[derive(Serialize)]
struct CloudEvent<'a, D> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    subject: String,
    time: String,
    datacontenttype: &'static str,
    data: D,
}

#[derive(Serialize)]
struct SaleData {
    sale_id: String,
}

#[derive(Serialize)]
struct ItemData {
    sale_id: String,
    item: ItemBody,
}

#[derive(Serialize)]
struct ItemBody {
    id: String,
    name: String,
    image_url: String,
}

#[derive(Serialize)]
struct CancelledData {
    code: String,
    sale_id: String,
    buyer_id: String,
    cancelled_at: String,
    pieces_cancelled: i32,
    pieces_left: i32,
    items: Vec<CancelledItem>,
}

#[derive(Serialize)]
struct CancelledItem {
    #[serde(flatten)]
    item: ItemBody,
    quantity: i32,
}

impl CancelledData {
    fn new(code: CodeClaim, cancelled: &CancelledPurchase, items: Vec<Item>) -> Self {
        let quantity =
            |no| cancelled.lines.iter().find(|line| line.item == no).map(|it| it.quantity.get());
        let items = items.into_iter().filter_map(|item| {
            let quantity = quantity(item.no)?;
            Some(CancelledItem { item: item.into(), quantity })
        });
        Self {
            code: code.to_string(),
            sale_id: code.sale.to_string(),
            buyer_id: cancelled.buyer.as_str().to_owned(),
            cancelled_at: rfc3339(cancelled.cancelled_at),
            pieces_cancelled: cancelled.lines.iter().map(|line| line.quantity.get()).sum(),
            pieces_left: cancelled.pieces_left,
            items: items.collect(),
        }
    }
}

impl From<Item> for ItemBody {
    fn from(item: Item) -> Self {
        Self { id: item.id.as_str().to_owned(), name: item.name, image_url: item.image_url }
    }
}

impl CloudEvents {
    /// Events of this source, a URI reference.
    pub(crate) fn new(source: &str) -> Self {
        Self { source: source.into() }
    }

    fn event<D: Serialize>(
        &self,
        head: EventHead,
        (kind, order_key, subject): (EventKind, String, String),
        data: D,
    ) -> Event {
        let body = serde_json::to_string(&CloudEvent {
            specversion: "1.0",
            id: &head.id,
            source: &self.source,
            kind: kind.type_name(),
            subject,
            time: rfc3339(head.time),
            datacontenttype: "application/json",
            data,
        });
        // Structs of texts and numbers, which always have a form in JSON.
        let body = Bytes::from(body.unwrap_or_default());
        Event { id: head.id, kind, order_key, time: head.time, body }
    }
}

impl EventFormat for CloudEvents {
    fn format(&self, head: EventHead, data: EventData) -> Event {
        match data {
            EventData::PurchaseSettled(code, outcome, items) => {
                let buyer = outcome.buyer.as_str().to_owned();
                let data = Purchase::new(code, &outcome, items);
                self.event(head, (EventKind::PurchaseSettled, buyer, code.to_string()), data)
            }
            EventData::PurchaseCancelled(code, cancelled, items) => {
                let buyer = cancelled.buyer.as_str().to_owned();
                let data = CancelledData::new(code, &cancelled, items);
                self.event(head, (EventKind::PurchaseCancelled, buyer, code.to_string()), data)
            }
            EventData::ItemSoldOut(sale, item) => {
                let sale_id = sale.to_string();
                let subject = format!("{sale_id}/{}", item.id.as_str());
                let of = (EventKind::ItemSoldOut, sale_id.clone(), subject);
                self.event(head, of, ItemData { sale_id, item: item.into() })
            }
            EventData::SaleSoldOut(sale) => {
                let sale_id = sale.to_string();
                let of = (EventKind::SaleSoldOut, sale_id.clone(), sale_id.clone());
                self.event(head, of, SaleData { sale_id })
            }
            EventData::SaleOpened(sale) => {
                let sale_id = sale.id.to_string();
                let data = ListedSale::from(browse::ListedSale { sale, state: SaleState::Open });
                self.event(head, (EventKind::SaleOpened, sale_id.clone(), sale_id), data)
            }
            EventData::SaleEnded(sale, report) => {
                let sale_id = sale.to_string();
                let of = (EventKind::SaleEnded, sale_id.clone(), sale_id);
                // PostgreSQL keeps it as JSON.
                self.event(head, of, RawValue::from_string(report).unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::application::ports::CodeSigner;
    use crate::domain::checkout::Line;
    use crate::domain::ids::{ItemId, ItemNo, Quantity};
    use crate::domain::purchase::{LineOutcome, Outcome, SettledLine};
    use crate::testing::builders::{at, attempt_id, buyer, sale_id};
    use crate::testing::fakes::FakeSigner;

    fn item() -> Item {
        Item {
            no: ItemNo(1),
            id: ItemId::parse("sku-1").unwrap(),
            name: "Item 1".to_owned(),
            image_url: "https://img.example/1".to_owned(),
        }
    }

    fn formatted(data: EventData) -> (Event, Value) {
        let head = EventHead { id: "evt_1_0".to_owned(), time: at(0) };
        let event = CloudEvents::new("/shop").format(head, data);
        let body = serde_json::from_slice(&event.body).unwrap();
        (event, body)
    }

    #[test]
    fn the_data_of_a_purchase_is_what_version_2_answers() {
        let code = FakeSigner { key: 1 }.sign(sale_id(1), attempt_id(7));
        let line = Line { item: ItemNo(1), quantity: Quantity::new(2).unwrap() };
        let lines = vec![SettledLine { line, outcome: LineOutcome::Sold }];
        let outcome = Outcome { buyer: buyer("ann"), purchased_at: at(0), lines };
        let answer = Purchase::new(code, &outcome, vec![item()]);

        let (event, body) =
            formatted(EventData::PurchaseSettled(code, outcome.clone(), vec![item()]));

        assert_eq!(body["data"], serde_json::to_value(answer).unwrap());
        assert_eq!(body["type"], "flash_sale.purchase.settled.v1");
        assert_eq!(body["subject"], json!(code.to_string()));
        assert_eq!((event.order_key.as_str(), event.id.as_str()), ("ann", "evt_1_0"));
    }

    #[test]
    fn a_cancellation_tells_what_was_taken_back_and_what_is_left() {
        let code = FakeSigner { key: 1 }.sign(sale_id(1), attempt_id(7));
        let lines = vec![Line { item: ItemNo(1), quantity: Quantity::new(2).unwrap() }];
        let (buyer, cancelled_at) = (buyer("ann"), at(5));
        let attempt = attempt_id(7);
        let cancelled = CancelledPurchase { attempt, buyer, cancelled_at, lines, pieces_left: 3 };

        let (event, body) = formatted(EventData::PurchaseCancelled(code, cancelled, vec![item()]));

        assert_eq!(
            (event.order_key.as_str(), &body["type"]),
            ("ann", &json!("flash_sale.purchase.cancelled.v1"))
        );
        let expected = json!({
            "code": code.to_string(),
            "sale_id": "S-1",
            "buyer_id": "ann",
            "cancelled_at": rfc3339(at(5)),
            "pieces_cancelled": 2,
            "pieces_left": 3,
            "items": [{"id": "sku-1", "name": "Item 1", "image_url": "https://img.example/1", "quantity": 2}],
        });
        assert_eq!(body["data"], expected);
    }

    #[test]
    fn the_attributes_are_those_of_cloudevents() {
        let (_, body) = formatted(EventData::ItemSoldOut(sale_id(1), item()));

        let sale = sale_id(1).to_string();
        let expected = json!({
            "specversion": "1.0",
            "id": "evt_1_0",
            "source": "/shop",
            "type": "flash_sale.item.sold_out.v1",
            "subject": format!("{sale}/sku-1"),
            "time": rfc3339(at(0)),
            "datacontenttype": "application/json",
            "data": {
                "sale_id": sale,
                "item": {"id": "sku-1", "name": "Item 1", "image_url": "https://img.example/1"},
            },
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn the_report_of_an_ended_sale_is_its_data() {
        let report = r#"{"sale_id":"S-1","sold":3}"#.to_owned();

        let (_, body) = formatted(EventData::SaleEnded(sale_id(1), report));

        assert_eq!(body["data"], json!({"sale_id": "S-1", "sold": 3}));
    }
}
