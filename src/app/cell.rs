//! A cell: a PostgreSQL with its part of the sales, and everything that belongs to it alone.

use std::sync::Arc;

use super::context::BuildContext;
use super::error::AppError;
use super::limits::limits;
use super::selling::Selling;
use super::shared::Shared;
use crate::application::codes::{Codes, CodesPorts};
use crate::application::compare_time_zones::CompareTimeZones;
use crate::application::ports::{
    CancellationReader, CodeLock, HintCache, IdempotencyStore, ItemReader, Leadership,
    PurchaseHistory, SaleStore,
};
use crate::application::rebuild_filter::RebuildFilter;
use crate::application::refusals::{DetailBudget, Refusals};
use crate::application::sale_cache::{SaleCache, SaleCacheLimits};
use crate::application::sold_out_hints::SoldOutHints;
use crate::config::RefusalsConfig;
use crate::domain::cell::CellId;
use crate::infrastructure::cache::{
    CacheWriter, RedisCodeLock, RedisFilterBuilder, RedisHintCache, RedisLeadership,
};
use crate::infrastructure::http::HttpCurrentRequest;
use crate::infrastructure::persistence::{
    Database, DatabaseClock, OnReplicas, PostgresCancellations, PostgresEpochReader,
    PostgresIdempotencyStore, PostgresItemReader, PostgresLocalTimes, PostgresPurchaseHistory,
    PostgresRefusalStore, PostgresSaleStore, Replicas,
};
use crate::infrastructure::schedule::CronCalendar;
use crate::infrastructure::signing::HmacSigner;

/// The adapters and the knowledge of one database.
pub(crate) struct Cell {
    pub(crate) database: Database,
    pub(crate) clock: Arc<DatabaseClock>,
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) sales: Arc<dyn SaleStore>,
    pub(crate) lists: Lists,
    pub(crate) sale_cache: Arc<SaleCache>,
    pub(crate) selling: Selling,
    pub(crate) keys: Arc<dyn IdempotencyStore>,
    pub(crate) cancellations: Arc<dyn CancellationReader>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) codes: Arc<Codes>,
    pub(crate) code_signer: Arc<HmacSigner>,
    pub(crate) time_zones: Arc<CompareTimeZones>,
    /// What Redis has of its sales, in the epochs of this database.
    pub(crate) hints: Arc<dyn HintCache>,
    pub(crate) lock: Arc<dyn CodeLock>,
    pub(crate) cache_writer: CacheWriter,
    pub(crate) sold_out_hints: Arc<SoldOutHints>,
    pub(crate) leadership: Arc<dyn Leadership>,
    pub(crate) rebuild_filter: Arc<RebuildFilter>,
}

/// What only lists are read with, from replicas where there are some.
pub(crate) struct Lists {
    pub(crate) sales: Arc<dyn SaleStore>,
    pub(crate) items: Arc<dyn ItemReader>,
    pub(crate) history: Arc<dyn PurchaseHistory>,
}

impl Cell {
    /// On the context's database. Only the cache writer starts to run.
    pub(crate) fn build(
        context: &BuildContext<'_>,
        shared: &Shared,
        id: CellId,
    ) -> Result<Self, AppError> {
        let BuildContext { config, instance, registry, database, tasks, .. } = context;
        let clock = Arc::new(DatabaseClock::new());
        let sales = sales(context, &clock);
        let items: Arc<dyn ItemReader> = Arc::new(PostgresItemReader::new((*database).clone()));
        let replicas = Arc::new(Replicas::new(&config.database, database, registry)?);
        let sale_cache = sale_cache(context, (&sales, &items, &clock));
        let cache_writer = cache_writer(context, shared);
        let code_signer = code_signer(context)?;
        let leadership = RedisLeadership::new(shared.redis.clone(), id, instance.name.clone());
        let leadership: Arc<dyn Leadership> = Arc::new(leadership);
        forget_pages_with_history(database, shared);
        Ok(Self {
            lists: lists(context, &replicas, (&sales, &items, &clock)),
            selling: (context.make_selling)(
                (*database).clone(),
                config,
                &shared.batches,
                &tasks.writers,
            ),
            keys: Arc::new(keys(context, shared)),
            cancellations: Arc::new(cancellations(context, shared)),
            refusals: refusals(context),
            codes: Arc::new(codes(context, &clock, &code_signer)),
            code_signer,
            time_zones: Arc::new(time_zones(context, &shared.calendar, &clock)),
            hints: Arc::new(hints(context, shared, &cache_writer)),
            lock: Arc::new(lock(context, shared, &cache_writer)),
            sold_out_hints: Arc::new(SoldOutHints::new(
                Arc::clone(&sale_cache),
                Arc::clone(&items),
                Arc::clone(&shared.business_metrics),
            )),
            rebuild_filter: Arc::new(RebuildFilter::new(
                Arc::clone(&sale_cache),
                items,
                Arc::new(RedisFilterBuilder::new(shared.redis.clone(), instance.name.clone())),
                Arc::clone(&leadership),
                config.redis.filter_interval,
            )),
            database: (*database).clone(),
            clock,
            replicas,
            sales,
            sale_cache,
            cache_writer,
            leadership,
        })
    }
}

fn sales(context: &BuildContext<'_>, clock: &Arc<DatabaseClock>) -> Arc<dyn SaleStore> {
    let texts = context.config.catalogue.clone();
    Arc::new(PostgresSaleStore::new(context.database.clone(), Arc::clone(clock), texts))
}

/// The ports of lists. Those of the sale cache and of everything that decides stay on the primary.
fn lists(
    context: &BuildContext<'_>,
    replicas: &Arc<Replicas>,
    (sales, items, clock): (&Arc<dyn SaleStore>, &Arc<dyn ItemReader>, &Arc<DatabaseClock>),
) -> Lists {
    let store = |database| -> Arc<dyn SaleStore> {
        let texts = context.config.catalogue.clone();
        Arc::new(PostgresSaleStore::new(database, Arc::clone(clock), texts))
    };
    let reader = |database| -> Arc<dyn ItemReader> { Arc::new(PostgresItemReader::new(database)) };
    let past =
        |database| -> Arc<dyn PurchaseHistory> { Arc::new(PostgresPurchaseHistory::new(database)) };
    let sales = replicas.on_each(Arc::clone(sales), store);
    let items = replicas.on_each(Arc::clone(items), reader);
    let history = replicas.on_each(past(context.database.clone()), past);
    let history = Arc::new(OnReplicas::recent(replicas, history));
    if context.config.cache.enabled {
        // A page that is read after a change and lacks it would be shown as the latest one until it expires.
        let sales = Arc::new(OnReplicas::acknowledged(replicas, sales));
        let items = Arc::new(OnReplicas::acknowledged(replicas, items));
        return Lists { sales, items, history };
    }
    Lists {
        sales: Arc::new(OnReplicas::recent(replicas, sales)),
        items: Arc::new(OnReplicas::recent(replicas, items)),
        history,
    }
}

/// The sale cache. It forgets everything when the database has another history.
fn sale_cache(
    context: &BuildContext<'_>,
    (sales, items, clock): (&Arc<dyn SaleStore>, &Arc<dyn ItemReader>, &Arc<DatabaseClock>),
) -> Arc<SaleCache> {
    let config = &context.config.sale_cache;
    let history = context.database.history();
    let limits = SaleCacheLimits { not_found: config.unknown_sales, item_bytes: config.item_bytes };
    let clock = Arc::<DatabaseClock>::clone(clock);
    let sale_cache = SaleCache::new(Arc::clone(sales), Arc::clone(items), clock, limits);
    let sale_cache = Arc::new(sale_cache.following(Arc::clone(history)));
    let forgetful = Arc::clone(&sale_cache);
    history.when_changed(move || forgetful.forget());
    sale_cache
}

/// The read cache forgets everything when the database has another history.
fn forget_pages_with_history(database: &Database, shared: &Shared) {
    if let Some(cache) = &shared.read_cache {
        let forgetful = Arc::clone(cache);
        database.history().when_changed(move || forgetful.forget_all());
    }
}

/// What commits have changed is written in the epochs of this database.
fn cache_writer(context: &BuildContext<'_>, shared: &Shared) -> CacheWriter {
    let (tracker, stop) = context.tasks.writers.scope();
    let history = Arc::clone(context.database.history());
    CacheWriter::start(shared.redis.clone(), history, &tracker, stop)
}

/// The locks on codes.
fn lock(context: &BuildContext<'_>, shared: &Shared, writer: &CacheWriter) -> RedisCodeLock {
    let batch = &context.config.batch;
    RedisCodeLock::new(
        (shared.redis.clone(), writer.clone()),
        context.config.redis.lock_ttl,
        limits(batch, batch.purchase_size, 1),
        &shared.batches,
        context.tasks.writers.scope(),
    )
}

/// What Redis suggests about checkouts.
fn hints(context: &BuildContext<'_>, shared: &Shared, writer: &CacheWriter) -> RedisHintCache {
    let batch = &context.config.batch;
    RedisHintCache::new(
        shared.redis.clone(),
        writer.clone(),
        limits(batch, batch.checkout_size, 1),
        &shared.batches,
        context.tasks.writers.scope(),
    )
}

/// What operators have taken back.
fn cancellations(context: &BuildContext<'_>, shared: &Shared) -> PostgresCancellations {
    let batch = &context.config.batch;
    let limits = limits(batch, batch.purchase_size, 1);
    let scope = context.tasks.writers.scope();
    PostgresCancellations::new(context.database.clone(), limits, &shared.batches, scope)
}

/// The idempotency keys.
fn keys(context: &BuildContext<'_>, shared: &Shared) -> PostgresIdempotencyStore {
    let batch = &context.config.batch;
    let keep = context.in_force.setting(|config| config.idempotency.keep);
    let limits = limits(batch, batch.checkout_size, 1);
    let scope = context.tasks.writers.scope();
    PostgresIdempotencyStore::new(context.database.clone(), keep, limits, &shared.batches, scope)
}

/// Signs codes in the epochs of the database.
fn code_signer(context: &BuildContext<'_>) -> Result<Arc<HmacSigner>, AppError> {
    let history = Arc::clone(context.database.history());
    Ok(Arc::new(HmacSigner::new(&context.config.code_keys)?.following(history)))
}

/// Codes, in the epochs of the database.
fn codes(
    context: &BuildContext<'_>,
    clock: &Arc<DatabaseClock>,
    signer: &Arc<HmacSigner>,
) -> Codes {
    Codes::new(CodesPorts {
        signer: Arc::<HmacSigner>::clone(signer),
        history: Arc::clone(context.database.history()),
        epochs: Arc::new(PostgresEpochReader::new(context.database.clone())),
        clock: Arc::<DatabaseClock>::clone(clock),
    })
}

/// Compares the rules of the schedule's time zone.
fn time_zones(
    context: &BuildContext<'_>,
    calendar: &Arc<CronCalendar>,
    clock: &Arc<DatabaseClock>,
) -> CompareTimeZones {
    let zone = context.in_force.setting(|config| config.schedule.time_zone_name().to_owned());
    let database = PostgresLocalTimes::new(context.database.clone(), zone);
    CompareTimeZones::new(
        Arc::<CronCalendar>::clone(calendar),
        Arc::new(database),
        Arc::<DatabaseClock>::clone(clock),
    )
}

/// The refusals of one run.
fn refusals(context: &BuildContext<'_>) -> Arc<Refusals> {
    let store = PostgresRefusalStore::new(context.database.clone(), context.instance.run);
    let RefusalsConfig { max_details: burst, details_per_flush: refill, .. } =
        context.config.refusals;
    let refusals = Refusals::new(Arc::new(store), DetailBudget { burst, refill });
    Arc::new(refusals.of_requests(Arc::new(HttpCurrentRequest)))
}
