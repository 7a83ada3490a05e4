//! The message that announces sold-out items to the other instances: `sale generation item item …`.

use super::connection::Redis;
use crate::application::ports::{PortError, StockFacts};
use crate::domain::ids::{ItemNo, SaleId};

/// Publishes the message once.
pub(crate) async fn publish(
    redis: &Redis,
    sale: SaleId,
    facts: &StockFacts,
) -> Result<(), PortError> {
    let mut manager = redis.manager();
    let mut publish = redis::cmd("PUBLISH");
    publish.arg(redis.keys().sold_out_events()).arg(format(sale, facts));
    redis.call("sold-out events", publish.query_async::<i64>(&mut manager)).await?;
    Ok(())
}

fn format(sale: SaleId, facts: &StockFacts) -> String {
    let mut text = format!("{} {}", sale.get(), facts.generation);
    for item in &facts.sold_out {
        text.push(' ');
        text.push_str(&item.0.to_string());
    }
    text
}

/// The sale and its sold-out items; `None` for any other text.
pub(crate) fn parse(text: &str) -> Option<(SaleId, StockFacts)> {
    let mut words = text.split(' ');
    let sale = SaleId::new(words.next()?.parse().ok()?)?;
    let generation = words.next()?.parse().ok()?;
    let sold_out = words.map(|word| word.parse().map(ItemNo)).collect::<Result<_, _>>().ok()?;
    Some((sale, StockFacts { generation, sold_out, sold: Vec::new() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_parsed_from_its_text() {
        let sale = SaleId::new(3).unwrap();
        let facts = StockFacts {
            generation: 2,
            sold_out: vec![ItemNo(1), ItemNo(10_000)],
            sold: Vec::new(),
        };

        assert_eq!(parse(&format(sale, &facts)), Some((sale, facts)));
    }

    #[test]
    fn other_texts_are_ignored() {
        for text in ["", "1", "x 1", "1 1 x", "0 1 1"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
