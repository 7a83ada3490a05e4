//! The message that announces sold-out items to the other instances: `epoch sale item item …`; without an item it announces that the
//! sale itself has changed.
//!
//! The epoch's id is random, so it also tells this installation from another one: publish and subscribe know no database numbers, and
//! two installations may have the same prefix.

use super::connection::Redis;
use crate::application::ports::{PortError, SoldOutEvent};
use crate::domain::ids::{ItemNo, SaleId};

/// Publishes the message once. Without items it announces a change of the sale.
pub(crate) async fn publish(
    redis: &Redis,
    epoch: i64,
    sale: SaleId,
    items: &[ItemNo],
) -> Result<(), PortError> {
    let mut manager = redis.manager();
    let mut publish = redis::cmd("PUBLISH");
    publish.arg(redis.keys().sold_out_events()).arg(format(epoch, sale, items));
    redis.call("sold-out events", publish.query_async::<i64>(&mut manager)).await?;
    Ok(())
}

fn format(epoch: i64, sale: SaleId, items: &[ItemNo]) -> String {
    let mut text = format!("{epoch} {}", sale.get());
    for item in items {
        text.push(' ');
        text.push_str(&item.0.to_string());
    }
    text
}

/// The event that the text announces to an instance in this epoch.
pub(crate) fn parse(text: &str, epoch: i64) -> SoldOutEvent {
    match parts(text) {
        None => SoldOutEvent::Unreadable,
        Some((theirs, ..)) if theirs != epoch => SoldOutEvent::Foreign,
        Some((_, sale, items)) if items.is_empty() => SoldOutEvent::Changed(sale),
        Some((_, sale, items)) => SoldOutEvent::Own { sale, items },
    }
}

fn parts(text: &str) -> Option<(i64, SaleId, Vec<ItemNo>)> {
    let mut words = text.split(' ');
    let epoch = words.next()?.parse().ok()?;
    let sale = SaleId::new(words.next()?.parse().ok()?)?;
    let items = words.map(|word| word.parse().map(ItemNo)).collect::<Result<_, _>>().ok()?;
    Some((epoch, sale, items))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_parsed_from_its_text() {
        let sale = SaleId::new(3).unwrap();
        let items = vec![ItemNo(1), ItemNo(10_000)];

        assert_eq!(parse(&format(7, sale, &items), 7), SoldOutEvent::Own { sale, items });
    }

    #[test]
    fn a_message_without_items_announces_a_change_of_the_sale() {
        let sale = SaleId::new(3).unwrap();

        assert_eq!(parse(&format(7, sale, &[]), 7), SoldOutEvent::Changed(sale));
    }

    #[test]
    fn a_message_of_another_epoch_is_foreign() {
        assert_eq!(parse("7 3", 8), SoldOutEvent::Foreign);
        assert_eq!(parse("7 3 1", 8), SoldOutEvent::Foreign);
    }

    #[test]
    fn other_texts_are_unreadable() {
        for text in ["", "1", "x 1", "1 1 x", "1 0 1"] {
            assert_eq!(parse(text, 1), SoldOutEvent::Unreadable, "{text:?}");
        }
    }
}
