//! What runs beside the requests.

use std::sync::Arc;
use std::time::Duration;

use super::services::Services;
use super::{Instance, parts::Parts};
use crate::application::open_sales::{OpenSales, OpenSalesError, Template};
use crate::application::rebuild_filter::RebuildFilter;
use crate::config::{Config, RedisConfig, ScheduleConfig};
use crate::infrastructure::cache::{NewsListener, RedisFilterBuilder};
use crate::infrastructure::schedule::CronCalendar;

/// The start waits this long for the sale of this hour.
const FIRST_TURN: Duration = Duration::from_secs(10);

/// Starts everything. When it comes back the board is read and the sale of this hour is there, if PostgreSQL is.
pub(crate) async fn start(
    parts: &Parts,
    config: &Config,
    chores: &Services,
    (instance, calendar): (&Instance, CronCalendar),
) {
    listen_to_redis(parts, chores);
    if let Err(error) = parts.board.refresh().await {
        tracing::warn!(%error, "cannot read the sales yet");
    }
    if config.schedule.enabled {
        keep_schedule(parts, &config.schedule, chores, (instance, calendar)).await;
    }
    if let Err(error) = parts.board.warm().await {
        tracing::warn!(%error, "cannot read the catalogues yet");
    }
    read_sales(parts, config, chores);
    write_refusals(parts, config, chores);
    prune_keys(parts, config, chores);
    rebuild_filter(parts, &config.redis, chores, instance);
}

fn listen_to_redis(parts: &Parts, chores: &Services) {
    let (_, stop) = chores.scope();
    chores.run(parts.redis.clone().probe(stop.clone()));
    let board = Arc::clone(&parts.board);
    let on_news = Arc::new(move |sale, facts: &_| board.learn(sale, facts));
    chores.run(NewsListener::new(parts.redis.clone(), on_news).listen(stop));
}

/// Two chores: a large catalogue that is being loaded must not make the board old.
fn read_sales(parts: &Parts, config: &Config, chores: &Services) {
    let board = Arc::clone(&parts.board);
    chores.every("read sales", config.board.poll_interval, move || {
        let board = Arc::clone(&board);
        async move { board.refresh().await }
    });
    let board = Arc::clone(&parts.board);
    chores.every("warm board", config.board.poll_interval, move || {
        let board = Arc::clone(&board);
        async move { board.warm().await }
    });
}

fn write_refusals(parts: &Parts, config: &Config, chores: &Services) {
    let refusals = Arc::clone(&parts.refusals);
    chores.every("write refusals", config.refusals.flush_interval, move || {
        let refusals = Arc::clone(&refusals);
        async move { refusals.flush().await }
    });
}

fn prune_keys(parts: &Parts, config: &Config, chores: &Services) {
    let keys = Arc::clone(&parts.keys);
    chores.every("prune keys", config.idempotency.prune_interval, move || {
        let keys = Arc::clone(&keys);
        async move { keys.prune().await.map(drop) }
    });
}

fn rebuild_filter(parts: &Parts, config: &RedisConfig, chores: &Services, instance: &Instance) {
    let redis = parts.redis.clone();
    let rebuild = Arc::new(RebuildFilter::new(
        Arc::clone(&parts.board),
        Arc::clone(&parts.items),
        Arc::new(RedisFilterBuilder::new(redis.clone(), instance.name.clone())),
        Arc::clone(&parts.leadership),
        config.filter_interval,
    ));
    let memory = redis.clone();
    let is_cold = move || {
        let memory = memory.clone();
        async move { memory.is_cold().await }
    };
    chores.every_or_when("rebuild filter", config.filter_interval, is_cold, move || {
        let (rebuild, redis) = (Arc::clone(&rebuild), redis.clone());
        async move { if redis.is_up() { rebuild.execute().await } else { Ok(()) } }
    });
}

async fn keep_schedule(
    parts: &Parts,
    schedule: &ScheduleConfig,
    chores: &Services,
    (instance, calendar): (&Instance, CronCalendar),
) {
    let open_sales = Arc::new(OpenSales::new(
        Arc::clone(&parts.board),
        Arc::clone(&parts.sales),
        Arc::new(calendar),
        Arc::clone(&parts.leadership),
        Template {
            duration: schedule.duration,
            items: schedule.items,
            stock: schedule.stock,
            buyer_limit: schedule.buyer_limit,
        },
    ));
    let actor = format!("schedule@{}", instance.name);
    // A term of three turns: the leader renews it in time, and a dead one is followed soon.
    let term = schedule.interval * 3;
    let chore = move || {
        let (open_sales, actor) = (Arc::clone(&open_sales), actor.clone());
        async move {
            for sale in open_sales.execute(&actor, term).await? {
                let starts_at = sale.window.starts_at();
                tracing::info!(sale = %sale.id, %starts_at, "sale created");
            }
            Ok::<_, OpenSalesError>(())
        }
    };
    match tokio::time::timeout(FIRST_TURN, chore()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "cannot open the scheduled sale yet"),
        Err(_) => tracing::warn!("opening the scheduled sale takes long: serving meanwhile"),
    }
    chores.every("keep schedule", schedule.interval, chore);
}
