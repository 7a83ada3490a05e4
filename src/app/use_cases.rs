//! The use cases behind HTTP, those of one cell.

use std::sync::Arc;

use super::cell::Cell;
use super::pause::TokioPause;
use super::shared::Shared;
use crate::application::browse::{Browse, BrowsePorts};
use crate::application::checkout::{Checkout, CheckoutPorts};
use crate::application::idempotency::{Idempotency, IdempotencyPorts};
use crate::application::live::{Live, LivePorts};
use crate::application::purchase::{Purchase, PurchasePorts};
use crate::application::turns::Turns;
use crate::config::Config;
use crate::infrastructure::cache::RedisSoldOutEvents;
use crate::infrastructure::http::{HttpCache, UseCases, live_event};

/// The use cases of a cell.
pub(crate) fn use_cases(config: &Config, cell: &Cell, shared: &Shared) -> UseCases {
    let checkout = Arc::new(checkout(cell, shared));
    let purchase = Arc::new(purchase(config, cell, shared));
    let browse = Arc::new(browse(cell, shared));
    UseCases {
        live: Arc::new(live(config, cell, &browse)),
        idempotency: Arc::new(idempotency(config, (cell, shared), (&checkout, &purchase))),
        cache: http_cache(cell, shared),
        checkout,
        purchase,
        browse,
    }
}

fn http_cache(cell: &Cell, shared: &Shared) -> Option<Arc<HttpCache>> {
    Some(Arc::new(HttpCache::new(shared.reads()?, Arc::clone(&cell.sale_cache))))
}

fn checkout(cell: &Cell, shared: &Shared) -> Checkout {
    Checkout::new(CheckoutPorts {
        sale_cache: Arc::clone(&cell.sale_cache),
        checkouts: Arc::clone(&cell.selling.checkouts),
        hints: Arc::clone(&cell.hints),
        codes: Arc::clone(&cell.codes),
        refusals: Arc::clone(&cell.refusals),
        business_metrics: Arc::clone(&shared.business_metrics),
    })
}

fn purchase(config: &Config, cell: &Cell, shared: &Shared) -> Purchase {
    Purchase::new(PurchasePorts {
        sale_cache: Arc::clone(&cell.sale_cache),
        ledger: Arc::clone(&cell.selling.ledger),
        lock: Arc::clone(&cell.lock),
        turns: turns(config, cell),
        hints: Arc::clone(&cell.hints),
        sold_out_events: Arc::new(RedisSoldOutEvents::new(cell.cache_writer.clone())),
        codes: Arc::clone(&cell.codes),
        refusals: Arc::clone(&cell.refusals),
        business_metrics: Arc::clone(&shared.business_metrics),
        read_cache: shared.reads(),
    })
}

fn turns(config: &Config, cell: &Cell) -> Turns {
    let clock = Arc::clone(cell.sale_cache.clock());
    Turns { clock, pause: Arc::new(TokioPause), wait: config.redis.lock_wait }
}

fn idempotency(
    config: &Config,
    (cell, shared): (&Cell, &Shared),
    (checkout, purchase): (&Arc<Checkout>, &Arc<Purchase>),
) -> Idempotency {
    Idempotency::new(IdempotencyPorts {
        checkout: Arc::clone(checkout),
        purchase: Arc::clone(purchase),
        sale_cache: Arc::clone(&cell.sale_cache),
        checkouts: Arc::clone(&cell.selling.checkouts),
        keys: Arc::clone(&cell.keys),
        idempotency_lock: Arc::clone(&shared.idempotency_lock),
        turns: turns(config, cell),
        codes: Arc::clone(&cell.codes),
    })
}

fn browse(cell: &Cell, shared: &Shared) -> Browse {
    Browse::new(BrowsePorts {
        sale_cache: Arc::clone(&cell.sale_cache),
        sales: Arc::clone(&cell.lists.sales),
        items: Arc::clone(&cell.lists.items),
        ledger: Arc::clone(&cell.selling.ledger),
        history: Arc::clone(&cell.lists.history),
        cancellations: Arc::clone(&cell.cancellations),
        codes: Arc::clone(&cell.codes),
        pause: Arc::new(TokioPause),
        read_cache: shared.reads(),
    })
}

fn live(config: &Config, cell: &Cell, browse: &Arc<Browse>) -> Live {
    let ports = LivePorts {
        sale_cache: Arc::clone(&cell.sale_cache),
        browse: Arc::clone(browse),
        pause: Arc::new(TokioPause),
    };
    Live::new(ports, config.live.max_listeners, live_event)
}
