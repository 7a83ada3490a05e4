//! Sold pieces and sold-out items in Redis: the totals of a sale, and the bits of its filter.

use std::sync::LazyLock;

use redis::Script;

use super::connection::Redis;
use super::script::script;
use crate::application::ports::StockFacts;
use crate::domain::bloom::BloomShape;
use crate::domain::ids::ItemNo;
use crate::domain::sale::Sale;

static UPDATE: LazyLock<Script> = script!("stock_update");

/// Maximum number of items in one script call: a longer call would delay every other client.
const ITEMS_A_CALL: usize = 500;

/// Writes the facts of the sale's current generation; facts of another one are ignored. A failed call is only logged: the
/// next rebuild of the filter repairs it.
pub(crate) async fn update(redis: &Redis, sale: &Sale, facts: &StockFacts) {
    if facts.generation != sale.generation {
        return;
    }
    let mut sold_out = facts.sold_out.chunks(ITEMS_A_CALL);
    let mut sold = facts.sold.chunks(ITEMS_A_CALL);
    loop {
        let (sold, sold_out) = (sold.next(), sold_out.next());
        if sold.is_none() && sold_out.is_none() {
            return;
        }
        let (sold, sold_out) = (sold.unwrap_or_default(), sold_out.unwrap_or_default());
        update_items(redis, sale, sold, sold_out).await;
    }
}

async fn update_items(redis: &Redis, sale: &Sale, sold: &[(ItemNo, i32)], sold_out: &[ItemNo]) {
    let keys = redis.keys().filter(sale);
    let mut call = UPDATE.prepare_invoke();
    call.key(keys.filter).key(&keys.slots[0]).key(&keys.slots[1]).key(keys.totals);
    call.arg(redis.keys().expire_at(sale)).arg(sold.len());
    for (item, sold) in sold {
        call.arg(item.0).arg(*sold);
    }
    let shape = BloomShape::for_items(sale.items);
    for bit in sold_out.iter().flat_map(|item| shape.positions(*item)) {
        call.arg(bit);
    }
    if let Err(error) = redis.invoke::<i64>("the stock", &call).await {
        tracing::debug!(%error, "the stock was not written to redis");
    }
}
