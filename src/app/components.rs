//! Adapters and use cases, wired together.

use std::sync::Arc;
use std::time::Duration;

use super::context::BuildContext;
use super::error::AppError;
use super::limits::limits;
use super::pause::TokioPause;
use super::selling::Selling;
use crate::application::api_keys::ApiKeys;
use crate::application::browse::{Browse, BrowsePorts};
use crate::application::checkout::{Checkout, CheckoutPorts};
use crate::application::codes::{Codes, CodesPorts};
use crate::application::compare_time_zones::CompareTimeZones;
use crate::application::idempotency::{Idempotency, IdempotencyPorts};
use crate::application::live::{Live, LivePorts};
use crate::application::ports::{
    BusinessMetrics, CancellationReader, CodeLock, HintCache, IdempotencyLock, IdempotencyStore,
    ItemReader, Leadership, PurchaseHistory, ReadCache, SaleStore,
};
use crate::application::purchase::{Purchase, PurchasePorts};
use crate::application::rebuild_filter::RebuildFilter;
use crate::application::refusals::{DetailBudget, Refusals};
use crate::application::sale_cache::{SaleCache, SaleCacheLimits};
use crate::application::sold_out_hints::SoldOutHints;
use crate::application::turns::Turns;
use crate::config::{Config, RefusalsConfig};
use crate::infrastructure::batching::BatchMetrics;
use crate::infrastructure::cache::{
    CacheWriter, Redis, RedisCodeLock, RedisFilterBuilder, RedisHintCache, RedisIdempotencyLock,
    RedisLeadership, RedisMetrics, RedisReadPages, RedisSoldOutEvents,
};
use crate::infrastructure::http::{
    AuthMetrics, HttpCache, HttpCurrentRequest, HttpState, live_event,
};
use crate::infrastructure::monitoring::{PrometheusBusinessMetrics, ReloadStatus};
use crate::infrastructure::persistence::{
    Database, DatabaseClock, OnReplicas, PostgresApiKeyStore, PostgresCancellations,
    PostgresEpochReader, PostgresIdempotencyStore, PostgresItemReader, PostgresLocalTimes,
    PostgresPurchaseHistory, PostgresRefusalStore, PostgresSaleStore, Replicas,
};
use crate::infrastructure::read_cache::{ReadCacheMetrics, TwoTierCache};
use crate::infrastructure::schedule::CronCalendar;
use crate::infrastructure::signing::{HmacCursorSigner, HmacKeySecrets, HmacSigner};

/// The adapters and what use cases share, made once and used by requests and background tasks.
pub(crate) struct Components {
    pub(crate) sale_cache: Arc<SaleCache>,
    pub(crate) sales: Arc<dyn SaleStore>,
    pub(crate) keys: Arc<dyn IdempotencyStore>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) leadership: Arc<dyn Leadership>,
    pub(crate) rebuild_filter: Arc<RebuildFilter>,
    pub(crate) redis: Redis,
    pub(crate) database: Database,
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) lists: Lists,
    pub(crate) selling: Selling,
    lock: Arc<dyn CodeLock>,
    lock_wait: Duration,
    idempotency_lock: Arc<dyn IdempotencyLock>,
    hints: Arc<dyn HintCache>,
    cancellations: Arc<dyn CancellationReader>,
    pub(crate) sold_out_hints: Arc<SoldOutHints>,
    pub(crate) calendar: Arc<CronCalendar>,
    pub(crate) time_zones: Arc<CompareTimeZones>,
    cache_writer: CacheWriter,
    /// The read cache, if it is on.
    pub(crate) read_cache: Option<Arc<TwoTierCache>>,
    pub(crate) codes: Arc<Codes>,
    /// Keys of operators and services. They cost nothing until a request has one.
    pub(crate) api_keys: Arc<ApiKeys>,
    pub(crate) auth_metrics: Arc<AuthMetrics>,
    pub(crate) code_signer: Arc<HmacSigner>,
    pub(crate) cursors: Arc<HmacCursorSigner>,
    pub(crate) reloads: Arc<ReloadStatus>,
    business_metrics: Arc<dyn BusinessMetrics>,
    pub(crate) batches: BatchMetrics,
}

/// What only lists are read with, from replicas where there are some.
pub(crate) struct Lists {
    sales: Arc<dyn SaleStore>,
    pub(crate) items: Arc<dyn ItemReader>,
    history: Arc<dyn PurchaseHistory>,
}

impl Components {
    /// Creates all adapters. Only the cache writer starts to run.
    pub(crate) fn build(context: &BuildContext<'_>) -> Result<Self, AppError> {
        let BuildContext { config, instance, registry, circuits, database, tasks, .. } = context;
        let batches = BatchMetrics::register(registry)?;
        let redis = Redis::new(&config.redis, RedisMetrics::register(registry)?, circuits)?;
        let (tracker, stop) = tasks.writers.scope();
        let history = Arc::clone(database.history());
        let cache_writer = CacheWriter::start(redis.clone(), history, &tracker, stop);
        let clock = Arc::new(DatabaseClock::new());
        let sales: Arc<dyn SaleStore> = Arc::new(PostgresSaleStore::new(
            (*database).clone(),
            Arc::clone(&clock),
            config.catalogue.clone(),
        ));
        let items: Arc<dyn ItemReader> = Arc::new(PostgresItemReader::new((*database).clone()));
        let code_signer = code_signer(context)?;
        let codes = codes(context, &clock, &code_signer);
        let reloads = ReloadStatus::register(registry, Arc::<DatabaseClock>::clone(&clock))?;
        let calendar = Arc::new(CronCalendar::new(&config.schedule));
        let time_zones = time_zones(context, &calendar, &clock);
        let replicas = Arc::new(Replicas::new(&config.database, database, registry)?);
        let lists = lists(context, &replicas, (&sales, &items, &clock));
        let sale_cache = sale_cache(context, (&sales, &items, clock));
        let api_keys = api_keys(context, &sale_cache);
        let selling = (context.make_selling)((*database).clone(), config, &batches, &tasks.writers);
        let read_cache = read_cache(context, &redis)?;
        let lock = lock(context, (&redis, &cache_writer), &batches);
        let idempotency_lock = RedisIdempotencyLock::new(redis.clone(), config.redis.lock_ttl);
        let hints = hints(context, (&redis, &cache_writer), &batches);
        let leadership: Arc<dyn Leadership> =
            Arc::new(RedisLeadership::new(redis.clone(), instance.name.clone()));
        let rebuild_filter = rebuild_filter(context, &redis, (&sale_cache, &items, &leadership));
        let business_metrics: Arc<dyn BusinessMetrics> =
            Arc::new(PrometheusBusinessMetrics::register(registry)?);
        let sold_out_hints = SoldOutHints::new(
            Arc::clone(&sale_cache),
            Arc::clone(&items),
            Arc::clone(&business_metrics),
        );
        Ok(Self {
            sale_cache,
            sold_out_hints: Arc::new(sold_out_hints),
            calendar,
            time_zones: Arc::new(time_zones),
            sales,
            keys: Arc::new(keys(context, &batches)),
            refusals: refusals(context),
            leadership,
            rebuild_filter: Arc::new(rebuild_filter),
            redis,
            database: (*database).clone(),
            replicas,
            lists,
            selling,
            lock: Arc::new(lock),
            lock_wait: config.redis.lock_wait,
            idempotency_lock: Arc::new(idempotency_lock),
            hints: Arc::new(hints),
            cancellations: Arc::new(cancellations(context, &batches)),
            cache_writer,
            read_cache,
            codes: Arc::new(codes),
            api_keys,
            auth_metrics: Arc::new(AuthMetrics::register(registry)?),
            code_signer,
            cursors: Arc::new(HmacCursorSigner::new(&config.code_keys)),
            reloads: Arc::new(reloads),
            business_metrics,
            batches,
        })
    }

    /// The use cases behind HTTP.
    pub(crate) fn http_state(&self, context: &BuildContext<'_>) -> HttpState {
        let checkout = Arc::new(self.checkout());
        let purchase = Arc::new(self.purchase());
        let browse = Arc::new(self.browse());
        HttpState {
            live: Arc::new(live(context.config, &self.sale_cache, &browse)),
            checkout: Arc::clone(&checkout),
            purchase: Arc::clone(&purchase),
            browse,
            idempotency: Arc::new(self.idempotency((&checkout, &purchase))),
            cache: self.http_cache(),
            cursors: Arc::<HmacCursorSigner>::clone(&self.cursors),
            tasks: context.tasks.requests.clone(),
            request_timeout: context.in_force.setting(|config| config.http.request_timeout),
        }
    }

    fn http_cache(&self) -> Option<Arc<HttpCache>> {
        let pages = self.reads()?;
        Some(Arc::new(HttpCache::new(pages, Arc::clone(&self.sale_cache))))
    }

    /// The read cache, as use cases see it.
    fn reads(&self) -> Option<Arc<dyn ReadCache>> {
        let cache: Arc<dyn ReadCache> = Arc::<TwoTierCache>::clone(self.read_cache.as_ref()?);
        Some(cache)
    }

    fn checkout(&self) -> Checkout {
        Checkout::new(CheckoutPorts {
            sale_cache: Arc::clone(&self.sale_cache),
            checkouts: Arc::clone(&self.selling.checkouts),
            hints: Arc::clone(&self.hints),
            codes: Arc::clone(&self.codes),
            refusals: Arc::clone(&self.refusals),
            business_metrics: Arc::clone(&self.business_metrics),
        })
    }

    fn purchase(&self) -> Purchase {
        Purchase::new(PurchasePorts {
            sale_cache: Arc::clone(&self.sale_cache),
            ledger: Arc::clone(&self.selling.ledger),
            lock: Arc::clone(&self.lock),
            turns: self.turns(),
            hints: Arc::clone(&self.hints),
            sold_out_events: Arc::new(RedisSoldOutEvents::new(self.cache_writer.clone())),
            codes: Arc::clone(&self.codes),
            refusals: Arc::clone(&self.refusals),
            business_metrics: Arc::clone(&self.business_metrics),
            read_cache: self.reads(),
        })
    }

    fn turns(&self) -> Turns {
        let clock = Arc::clone(self.sale_cache.clock());
        Turns { clock, pause: Arc::new(TokioPause), wait: self.lock_wait }
    }

    fn idempotency(&self, (checkout, purchase): (&Arc<Checkout>, &Arc<Purchase>)) -> Idempotency {
        Idempotency::new(IdempotencyPorts {
            checkout: Arc::clone(checkout),
            purchase: Arc::clone(purchase),
            sale_cache: Arc::clone(&self.sale_cache),
            checkouts: Arc::clone(&self.selling.checkouts),
            keys: Arc::clone(&self.keys),
            idempotency_lock: Arc::clone(&self.idempotency_lock),
            turns: self.turns(),
            codes: Arc::clone(&self.codes),
        })
    }

    fn browse(&self) -> Browse {
        Browse::new(BrowsePorts {
            sale_cache: Arc::clone(&self.sale_cache),
            sales: Arc::clone(&self.lists.sales),
            items: Arc::clone(&self.lists.items),
            ledger: Arc::clone(&self.selling.ledger),
            history: Arc::clone(&self.lists.history),
            cancellations: Arc::clone(&self.cancellations),
            codes: Arc::clone(&self.codes),
            pause: Arc::new(TokioPause),
            read_cache: self.reads(),
        })
    }
}

/// The read cache, if it is on. It forgets everything when the database has another history.
fn read_cache(
    context: &BuildContext<'_>,
    redis: &Redis,
) -> Result<Option<Arc<TwoTierCache>>, AppError> {
    let config = &context.config.cache;
    if !config.enabled {
        return Ok(None);
    }
    let (instance, longest) = (context.instance.name.clone(), config.longest_ttl());
    let shared = Arc::new(RedisReadPages::new(redis.clone(), instance, longest));
    let metrics = ReadCacheMetrics::register(context.registry)?;
    let cache = Arc::new(TwoTierCache::new(config.clone(), shared, metrics));
    let forgetful = Arc::clone(&cache);
    context.database.history().when_changed(move || forgetful.forget_all());
    Ok(Some(cache))
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
    Lists {
        sales: Arc::new(OnReplicas::recent(replicas, sales)),
        items: Arc::new(OnReplicas::recent(replicas, items)),
        history: Arc::new(OnReplicas::recent(replicas, history)),
    }
}

/// The sale cache. It forgets everything when the database has another history.
fn sale_cache(
    context: &BuildContext<'_>,
    (sales, items, clock): (&Arc<dyn SaleStore>, &Arc<dyn ItemReader>, Arc<DatabaseClock>),
) -> Arc<SaleCache> {
    let config = &context.config.sale_cache;
    let history = context.database.history();
    let limits = SaleCacheLimits { not_found: config.unknown_sales, item_bytes: config.item_bytes };
    let sale_cache = SaleCache::new(Arc::clone(sales), Arc::clone(items), clock, limits);
    let sale_cache = Arc::new(sale_cache.following(Arc::clone(history)));
    let forgetful = Arc::clone(&sale_cache);
    history.when_changed(move || forgetful.forget());
    sale_cache
}

/// The locks on codes.
fn lock(
    context: &BuildContext<'_>,
    (redis, cache_writer): (&Redis, &CacheWriter),
    batches: &BatchMetrics,
) -> RedisCodeLock {
    let batch = &context.config.batch;
    RedisCodeLock::new(
        (redis.clone(), cache_writer.clone()),
        context.config.redis.lock_ttl,
        limits(batch, batch.purchase_size, 1),
        batches,
        context.tasks.writers.scope(),
    )
}

/// What Redis suggests about checkouts.
fn hints(
    context: &BuildContext<'_>,
    (redis, cache_writer): (&Redis, &CacheWriter),
    batches: &BatchMetrics,
) -> RedisHintCache {
    let batch = &context.config.batch;
    RedisHintCache::new(
        redis.clone(),
        cache_writer.clone(),
        limits(batch, batch.checkout_size, 1),
        batches,
        context.tasks.writers.scope(),
    )
}

/// What operators have taken back.
fn cancellations(context: &BuildContext<'_>, batches: &BatchMetrics) -> PostgresCancellations {
    let batch = &context.config.batch;
    let limits = limits(batch, batch.purchase_size, 1);
    let scope = context.tasks.writers.scope();
    PostgresCancellations::new(context.database.clone(), limits, batches, scope)
}

/// Keys of operators and services.
fn api_keys(context: &BuildContext<'_>, sale_cache: &SaleCache) -> Arc<ApiKeys> {
    Arc::new(ApiKeys::new(
        Arc::new(PostgresApiKeyStore::new(context.database.clone())),
        Arc::new(HmacKeySecrets::new(&context.config.api_keys)),
        Arc::clone(sale_cache.clock()),
    ))
}

/// The idempotency keys.
fn keys(context: &BuildContext<'_>, batches: &BatchMetrics) -> PostgresIdempotencyStore {
    let batch = &context.config.batch;
    PostgresIdempotencyStore::new(
        context.database.clone(),
        context.in_force.setting(|config| config.idempotency.keep),
        limits(batch, batch.checkout_size, 1),
        batches,
        context.tasks.writers.scope(),
    )
}

/// The rebuild of the filter, for the background task and for jobs.
fn rebuild_filter(
    context: &BuildContext<'_>,
    redis: &Redis,
    (sale_cache, items, leadership): (&Arc<SaleCache>, &Arc<dyn ItemReader>, &Arc<dyn Leadership>),
) -> RebuildFilter {
    RebuildFilter::new(
        Arc::clone(sale_cache),
        Arc::clone(items),
        Arc::new(RedisFilterBuilder::new(redis.clone(), context.instance.name.clone())),
        Arc::clone(leadership),
        context.config.redis.filter_interval,
    )
}

fn live(config: &Config, sale_cache: &Arc<SaleCache>, browse: &Arc<Browse>) -> Live {
    let ports = LivePorts {
        sale_cache: Arc::clone(sale_cache),
        browse: Arc::clone(browse),
        pause: Arc::new(TokioPause),
    };
    Live::new(ports, config.live.max_listeners, live_event)
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
