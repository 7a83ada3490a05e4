//! Background tasks: what runs beside the requests. A new task is a use case, and a line in [`start`].

use std::sync::Arc;
use std::time::Duration;

use super::cell::Cell;
use super::components::Components;
use super::context::BuildContext;
use super::shared::Shared;
use crate::application::compare_time_zones::CompareTimeZones;
use crate::application::open_sales::{OpenSales, OpenSalesError, OpenSalesPorts, Schedule};
use crate::application::ports::{Causes, PortError};
use crate::application::sold_out_hints::SoldOutHints;
use crate::config::ScheduleConfig;
use crate::infrastructure::cache::{Forgotten, InvalidationListener, SoldOutListener};
use crate::infrastructure::schedule::CronCalendar;

/// The start waits this long for the sale of this hour.
const FIRST_SALE_TIMEOUT: Duration = Duration::from_secs(10);

/// Events gather for this time, so that a rush causes few reads.
const GATHER_HINTS: Duration = Duration::from_millis(5);

/// What a failover has lost is looked for at once, and again after this time if that failed.
const LOST_WRITES_INTERVAL: Duration = Duration::from_secs(5);

/// PostgreSQL's rules of time zones change when its server is updated.
const COMPARE_TIME_ZONES_INTERVAL: Duration = Duration::from_hours(1);

/// Starts all tasks. It returns when the sale of this hour can be sold: after the first reading of sales, after that sale
/// exists, and after its items are in memory; unless PostgreSQL is away.
pub(crate) async fn start(context: &BuildContext<'_>, components: &Components) -> Arc<OpenSales> {
    let (config, tasks) = (context.config, &context.tasks.background);
    let Cell { sale_cache, refusals, .. } = &components.cell;

    listen_to_redis(context, components);
    components.cell.replicas.begin().await;
    tasks.run(Arc::clone(&components.cell.replicas).watch(tasks.stopping()));
    if let Err(error) = sale_cache.refresh().await {
        tracing::warn!(error = %Causes(&error), "cannot read the sales yet");
    }
    let open_sales = keep_schedule(context, components).await;
    // Only the sale of now: others are loaded in the background, and when a request needs them.
    if let Err(error) = sale_cache.warm_active().await {
        tracing::warn!(error = %Causes(&error), "cannot read the items of the sale yet");
    }

    let poll_interval = config.sale_cache.poll_interval;
    tasks.every("read sales", poll_interval, sale_cache, |it| async move { it.refresh().await });
    // Not part of the task above: loading a large catalogue must not delay the poll.
    tasks.every("warm sale cache", poll_interval, sale_cache, |it| async move { it.warm().await });
    let flush_interval = config.refusals.flush_interval;
    tasks.every("write refusals", flush_interval, refusals, |it| async move { it.flush().await });
    tasks.every(
        "compare time zones",
        COMPARE_TIME_ZONES_INTERVAL,
        &components.cell.time_zones,
        compare_time_zones,
    );
    rebuild_filter(context, components);
    record_lost_writes(context, components);
    open_sales
}

/// Starts what jobs need of these tasks, in a process that serves no buyers.
pub(crate) async fn start_for_worker(context: &BuildContext<'_>, components: &Components) {
    let (tasks, sale_cache) = (&context.tasks.background, &components.cell.sale_cache);
    tasks.run(components.shared.redis.clone().probe(tasks.stopping()));
    // Nothing is read from them here, but operators see them.
    tasks.run(Arc::clone(&components.cell.replicas).watch(tasks.stopping()));
    if let Err(error) = sale_cache.refresh().await {
        tracing::warn!(error = %Causes(&error), "cannot read the sales yet");
    }
    let poll_interval = context.config.sale_cache.poll_interval;
    tasks.every("read sales", poll_interval, sale_cache, |it| async move { it.refresh().await });
}

fn listen_to_redis(context: &BuildContext<'_>, components: &Components) {
    let tasks = &context.tasks.background;
    let stop = tasks.stopping();
    tasks.run(components.shared.redis.clone().probe(stop.clone()));
    let history = Arc::clone(components.cell.database.history());
    let hints = Arc::clone(&components.cell.sold_out_hints);
    tasks.run(confirm_sold_out(Arc::clone(&hints)));
    tasks.run(read_changed(Arc::clone(&hints)));
    let on_sold_out = Arc::new(move |event| hints.receive(event));
    let listener = SoldOutListener::new(components.shared.redis.clone(), history, on_sold_out);
    tasks.run(listener.listen(stop.clone()));
    if let Some(cache) = &components.shared.read_cache {
        let cache = Arc::clone(cache);
        let on_forgotten = Arc::new(move |forgotten| match forgotten {
            Forgotten::Outdated(scope) => cache.outdate(&scope),
            Forgotten::Scope(scope) => cache.forget(&scope),
            Forgotten::All => cache.forget_all(),
        });
        let name = context.instance.name.clone();
        let listener =
            InvalidationListener::new(components.shared.redis.clone(), name, on_forgotten);
        tasks.run(listener.listen(stop));
    }
}

/// Confirms the events of other instances, all that waited with one read a sale.
async fn confirm_sold_out(hints: Arc<SoldOutHints>) {
    loop {
        hints.arrived().await;
        tokio::time::sleep(GATHER_HINTS).await;
        if let Err(error) = hints.confirm().await {
            tracing::debug!(%error, "events about sold-out items are not confirmed");
        }
    }
}

/// Reads sales that have changed, at once: buyers wait for what is on sale again. Those that are announced meanwhile are read together.
async fn read_changed(hints: Arc<SoldOutHints>) {
    loop {
        hints.has_changed().await;
        if let Err(error) = hints.read_changed().await {
            tracing::debug!(%error, "a sale that was announced as changed is not read");
        }
    }
}

/// After a failover.
fn record_lost_writes(context: &BuildContext<'_>, components: &Components) {
    let (lost, database) =
        (Arc::clone(&components.cell.selling.lost_writes), components.cell.database.clone());
    let reporter = Arc::clone(&lost);
    let arrived = move || {
        let reporter = Arc::clone(&reporter);
        async move { reporter.arrived().await }
    };
    context.tasks.background.every_or_when(
        "record lost writes",
        LOST_WRITES_INTERVAL,
        arrived,
        move || {
            let (lost, database) = (Arc::clone(&lost), database.clone());
            async move { lost.record(&database).await }
        },
    );
}

/// Runs at every interval, and when a checkout finds no valid filter.
fn rebuild_filter(context: &BuildContext<'_>, components: &Components) {
    let interval = context.config.redis.filter_interval;
    let redis = components.shared.redis.clone();
    let rebuild = Arc::clone(&components.cell.rebuild_filter);
    let reporter = redis.clone();
    let cold_reported = move || {
        let reporter = reporter.clone();
        async move { reporter.cold_reported().await }
    };
    context.tasks.background.every_or_when("rebuild filter", interval, cold_reported, move || {
        let (rebuild, redis) = (Arc::clone(&rebuild), redis.clone());
        // While Redis is away, its circuit logs that once; the task does not log it too.
        async move { if redis.is_up() { rebuild.execute().await } else { Ok(()) } }
    });
}

async fn keep_schedule(context: &BuildContext<'_>, components: &Components) -> Arc<OpenSales> {
    let config = &context.config.schedule;
    let open_sales = Arc::new(open_sales(context, &components.cell, &components.shared));
    match tokio::time::timeout(FIRST_SALE_TIMEOUT, open_due_sales(Arc::clone(&open_sales))).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(error = %Causes(&error), "cannot open the scheduled sale yet");
        }
        Err(_) => tracing::warn!("opening the scheduled sale takes long: serving meanwhile"),
    }
    context.tasks.background.every("keep schedule", config.interval, &open_sales, open_due_sales);
    open_sales
}

/// The scheduled sales of a cell.
pub(super) fn open_sales(context: &BuildContext<'_>, cell: &Cell, shared: &Shared) -> OpenSales {
    let (in_force, actor) =
        (context.in_force.clone(), format!("schedule@{}", context.instance.name));
    let ports = OpenSalesPorts {
        sale_cache: Arc::clone(&cell.sale_cache),
        sales: Arc::clone(&cell.sales),
        calendar: Arc::<CronCalendar>::clone(&shared.calendar),
        leadership: Arc::clone(&cell.leadership),
    };
    OpenSales::new(ports, Arc::new(move || schedule_of(&in_force.get().schedule, &actor)))
}

fn schedule_of(config: &ScheduleConfig, actor: &str) -> Schedule {
    Schedule {
        enabled: config.enabled,
        actor: actor.to_owned(),
        // The leader renews its term in time, and a crashed leader is replaced after three intervals.
        term: config.interval * 3,
        duration: config.duration,
        items: config.items,
        stock: config.stock,
        buyer_limit: config.buyer_limit,
    }
}

async fn open_due_sales(open_sales: Arc<OpenSales>) -> Result<(), OpenSalesError> {
    for sale in open_sales.execute().await? {
        tracing::info!(sale = %sale.id, starts_at = %sale.window.starts_at(), "sale created");
    }
    Ok(())
}

async fn compare_time_zones(comparison: Arc<CompareTimeZones>) -> Result<(), PortError> {
    if let Some(difference) = comparison.execute().await? {
        tracing::warn!(%difference, "the schedule and postgresql have different rules of time zones");
    }
    Ok(())
}
