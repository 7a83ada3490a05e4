//! The statements beside requests: refusals, events, jobs, and what operators and schedules do.

use super::named::{Named, Parameter};
use crate::infrastructure::persistence::audit::{refusal_details, refusals};
use crate::infrastructure::persistence::idempotency::store as keys;
use crate::infrastructure::persistence::jobs::{attempts, reader, repair, workers};
use crate::infrastructure::persistence::operators::{api_keys, editor, importer};
use crate::infrastructure::persistence::outbox::{sinks, store as outbox};
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::replicas::primary;
use crate::infrastructure::persistence::report::{closing, store as reports};
use crate::infrastructure::persistence::retention::archive;
use crate::infrastructure::persistence::sale::store as sales;
use crate::infrastructure::persistence::schedules::runs;
use crate::infrastructure::persistence::webhooks::deliveries;

const SALE: Parameter = ("bigint", "{sale}");
const SALES: Parameter = ("bigint[]", "ARRAY[{sale}]");
/// A day, as a number of seconds.
const DAY: Parameter = ("float8", "86400");
const SECONDS: Parameter = ("float8", "15");
const NOW: Parameter = ("timestamptz", "clock_timestamp()");
const STEP: Parameter = ("bigint", "1000");
const RANDOM: Parameter = ("uuid", "gen_random_uuid()");
/// The id of a key that does not exist.
const KEY: Parameter = ("text", "'explain'");
/// A name that no instance has.
const SINKS: Parameter = ("text[]", "ARRAY['stream']");
const KINDS: Parameter = ("text[]", "ARRAY['purchase.settled']");
const WORKER: Parameter = ("text", "' explain'");
const WEBHOOK: Parameter = ("text", "(SELECT min(id) FROM webhooks)");
const CHECKOUT: Parameter = ("text[]", "ARRAY['checkout']");
const REASON: Parameter = ("text[]", "ARRAY['item_sold_out']");

pub(super) const STATEMENTS: &[Named] = &[
    Named::new(
        ("create_sale", Statement::CreateSale),
        sales::INSERT_SALE,
        &[
            ("bigint", "-1"),
            ("text", "'explain'"),
            ("text", "'explain'"),
            ("text", "NULL"),
            ("timestamptz", "clock_timestamp()"),
            ("timestamptz", "clock_timestamp() + interval '1 hour'"),
            ("int", "10"),
            ("int", "1"),
        ],
    ),
    // With no items, because the sale has them already.
    Named::new(
        ("create_sale.items", Statement::CreateSale),
        sales::INSERT_ITEMS,
        &[SALE, ("int", "0"), ("text", "'Item {item}'"), ("text", "'{item}'")],
    ),
    Named::new(
        ("create_sale.stock", Statement::CreateSale),
        sales::INSERT_STOCK,
        &[SALE, ("int", "0"), ("int", "1")],
    ),
    Named::new(
        ("edit_sale", Statement::EditSale),
        editor::UPDATE_SALE,
        &[
            SALE,
            ("text", "(SELECT name FROM sales WHERE id = {sale})"),
            ("timestamptz", "(SELECT starts_at FROM sales WHERE id = {sale})"),
            ("timestamptz", "(SELECT ends_at FROM sales WHERE id = {sale})"),
            ("int", "(SELECT buyer_limit FROM sales WHERE id = {sale})"),
            ("boolean", "false"),
        ],
    ),
    Named::new(
        ("edit_sale.stock", Statement::EditSale),
        editor::LOCK_STOCK,
        &[SALE, ("text", "(SELECT min(item_id) FROM items{of_sale} WHERE sale_id = {sale})")],
    ),
    Named::new(("import", Statement::Import), importer::IDS, &[SALE]),
    Named::new(("import.last_number", Statement::Import), importer::LAST_NUMBER, &[SALE]),
    Named::new(
        ("flush_refusals", Statement::FlushRefusals),
        refusals::ADD_TOTALS,
        &[SALES, CHECKOUT, REASON, ("bigint[]", "ARRAY[1]"), ("bigint[]", "ARRAY[0]")],
    ),
    Named::new(
        ("flush_refusals.number", Statement::FlushRefusals),
        refusals::TAKE_NUMBER,
        &[RANDOM, ("bigint", "1")],
    ),
    Named::new(
        ("flush_refusals.details", Statement::FlushRefusals),
        refusal_details::ADD,
        &[
            RANDOM,
            ("bigint", "1"),
            SALES,
            ("int[]", "ARRAY[1]"),
            CHECKOUT,
            REASON,
            ("text[]", "ARRAY[' explain']"),
            ("text[]", "ARRAY[NULL]"),
            ("bigint[]", "ARRAY[NULL]"),
            ("timestamptz[]", "ARRAY[clock_timestamp()]"),
            ("text[]", "ARRAY[NULL]"),
        ],
    ),
    Named::new(
        ("flush_refusals.answered", Statement::FlushRefusals),
        refusals::ADD_ANSWERED,
        &[SALES, ("bigint[]", "ARRAY[1]"), ("text[]", "ARRAY[' explain']")],
    ),
    Named::new(("position", Statement::Position), primary::POSITION, &[]),
    Named::new(("prune_keys", Statement::PruneKeys), keys::PRUNE, &[DAY, STEP]),
    Named::new(("prune_keys.operators", Statement::PruneKeys), keys::PRUNE_OPERATORS, &[DAY, STEP]),
    Named::new(("api_keys", Statement::ApiKeys), api_keys::IN_USE, &[]),
    Named::new(("api_keys.used", Statement::ApiKeys), api_keys::USED, &[KEY]),
    Named::new(
        ("outbox", Statement::Outbox),
        outbox::READ,
        &[("bigint", "(SELECT greatest(last - 100, 0) FROM outbox_order)"), STEP],
    ),
    Named::new(("outbox.order", Statement::Outbox), outbox::ORDER, &[("int", "1000")]),
    Named::new(("outbox.announce", Statement::Outbox), outbox::ANNOUNCE_OPENINGS, &[DAY]),
    Named::new(("outbox.prune", Statement::Outbox), outbox::PRUNE, &[DAY, STEP, SINKS]),
    Named::new(("outbox.prune_given_up", Statement::Outbox), outbox::PRUNE_GIVEN_UP, &[DAY, STEP]),
    Named::new(
        ("outbox.lease", Statement::Outbox),
        sinks::LEASE,
        &[("text", "'stream'"), RANDOM, SECONDS],
    ),
    Named::new(("outbox.pending", Statement::Outbox), sinks::PENDING, &[]),
    Named::new(("close_sale", Statement::CloseSale), closing::ENDED, &[SECONDS, ("bigint", "100")]),
    Named::new(("close_sale.note", Statement::CloseSale), closing::NOTE, &[SALES]),
    Named::new(("close_sale.reopen", Statement::CloseSale), closing::REOPEN, &[]),
    Named::new(
        ("retention", Statement::Retention),
        archive::EXPIRED,
        &[("float8", "90 * 86400.0"), ("bigint", "10000")],
    ),
    Named::new(
        ("retention.archive", Statement::Retention),
        archive::ARCHIVE,
        &[SALES, DAY, ("text", "'explain'"), ("text", "'90d'")],
    ),
    Named::new(("read.report", Statement::Read), reports::STORED, &[SALE]),
    Named::new(("webhooks", Statement::Webhooks), deliveries::LEASED, &[WORKER]),
    Named::new(
        ("webhooks.lease", Statement::Webhooks),
        deliveries::TAKE,
        &[WORKER, SECONDS, KINDS],
    ),
    Named::new(("webhooks.held", Statement::Webhooks), deliveries::HELD, &[WEBHOOK, STEP]),
    Named::new(
        ("webhooks.due", Statement::Webhooks),
        deliveries::DUE,
        &[WEBHOOK, STEP, ("boolean", "false")],
    ),
    Named::new(("jobs", Statement::Jobs), workers::PROMOTE, &[]),
    Named::new(
        ("jobs.claim", Statement::Jobs),
        attempts::CLAIM,
        &[WORKER, ("text", "'default'"), ("text[]", "ARRAY['noop']"), STEP],
    ),
    Named::new(
        ("jobs.claimed", Statement::Jobs),
        attempts::CLAIMED,
        &[WORKER, ("text", "'default'")],
    ),
    Named::new(
        ("jobs.succeed", Statement::Jobs),
        attempts::SUCCEED,
        &[("bigint[]", "ARRAY[1, 2]")],
    ),
    Named::new(
        ("jobs.fail", Statement::Jobs),
        attempts::FAIL,
        &[WORKER, ("bigint", "1"), NOW, ("text", "'explain'"), SECONDS],
    ),
    Named::new(
        ("jobs.give_back", Statement::Jobs),
        attempts::GIVE_BACK,
        &[WORKER, ("bigint[]", "ARRAY[1]"), ("timestamptz[]", "ARRAY[clock_timestamp()]")],
    ),
    Named::new(("jobs.take_over", Statement::Jobs), workers::TAKE_OVER, &[SECONDS]),
    Named::new(("jobs.renew", Statement::Jobs), workers::RENEW, &[WORKER]),
    Named::new(("count_jobs", Statement::CountJobs), reader::COUNT, &[]),
    Named::new(("prune_jobs", Statement::PruneJobs), repair::PRUNE_DONE, &[DAY, STEP]),
    Named::new(("prune_jobs.dead", Statement::PruneJobs), repair::PRUNE_DEAD, &[DAY, STEP]),
    Named::new(("schedules", Statement::Schedules), runs::DUE, &[]),
];
