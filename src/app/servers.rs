//! The ports: one for front ends, one for operators if it is on, one for monitoring.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use axum::routing::get;
use hyper::body::Incoming;
use tower::ServiceExt;

use super::access::access;
use super::admin;
use super::components::Components;
use super::context::BuildContext;
use super::error::AppError;
use crate::application::live::TICK;
use crate::application::ports::HealthCheck;
use crate::config::{HttpConfig, Setting};
use crate::infrastructure::cache::RedisHealth;
use crate::infrastructure::http::{
    Access, AdminPort, FastPath, HttpMetrics, HttpState, LinkBase, Observer, RequestLimits, Server,
    ServerLimits, Tls, admin_routes, announcement, cors, routes, start_page,
};
use crate::infrastructure::monitoring::{
    HealthReport, Monitoring, Readiness, ReloadStatus, SaleCacheMetrics, TaskCount, exposition,
    health_endpoint, register_live_listeners,
};
use crate::infrastructure::persistence::{PostgresHealth, ReplicaHealth};
use crate::infrastructure::schedule::TimeZoneHealth;
use crate::infrastructure::traces::Exemplars;

/// Time to close a connection after its last request.
const CLOSE_MARGIN: Duration = Duration::from_secs(1);

/// Binds both ports and serves.
pub(crate) async fn listen(
    context: &BuildContext<'_>,
    components: &Components,
    readiness: &Arc<Readiness>,
) -> Result<(), AppError> {
    let (config, tasks) = (context.config, context.tasks);
    let monitoring = monitoring(context, components, readiness)?;
    let (observer, tls) = (observer(context, readiness, &monitoring)?, tls(context)?);
    let access = access(context, components).await?;
    let fast_path = fast_path(context, components, observer.clone(), (&monitoring, access))?;
    let limits = context.in_force.setting(|config| limits(&config.http));
    let address = (config.http.host.as_str(), config.http.port);
    let server = bind("http", address, limits.clone(), tls.clone()).await?;
    let (_, stop) = tasks.servers.scope();
    let answer = move |request, peer| fast_path.answer(request, peer);
    tasks.servers.run(server.serve(answer, stop));
    if let Some(port) = config.admin.port {
        let admin = AdminPort::new(
            admin::build(context, components)?,
            observer,
            context.in_force.setting(|config| request_limits(&config.http)),
        );
        let address = (config.admin.host.as_str(), port);
        let server = bind("admin", address, limits, tls).await?;
        let (_, stop) = tasks.servers.scope();
        // Boxed: hyper keeps the memory of a connection's last request until it ends.
        let answer = move |request, peer| Box::pin(admin.clone().answer(request, peer));
        tasks.servers.run(server.serve(answer, stop));
    }
    serve_monitoring(context, monitoring).await
}

/// Binds only the port for operators, and serves.
pub(crate) async fn listen_for_operators(
    context: &BuildContext<'_>,
    components: &Components,
    readiness: &Arc<Readiness>,
) -> Result<(), AppError> {
    serve_monitoring(context, monitoring(context, components, readiness)?).await
}

async fn serve_monitoring(
    context: &BuildContext<'_>,
    monitoring: Monitoring,
) -> Result<(), AppError> {
    let (config, tasks) = (context.config, context.tasks);
    let limits = context.in_force.setting(|config| limits(&config.http));
    let address = (config.monitoring.host.as_str(), config.monitoring.port);
    let server = bind("monitoring", address, limits, None).await?;
    let router = monitoring.router();
    let (_, stop) = tasks.monitoring.scope();
    let answer =
        move |request: Request<Incoming>, _| router.clone().oneshot(request.map(Body::new));
    tasks.monitoring.run(server.serve(answer, stop));
    Ok(())
}

fn fast_path(
    context: &BuildContext<'_>,
    components: &Components,
    observer: Observer,
    (monitoring, access): (&Monitoring, Option<Access>),
) -> Result<FastPath, AppError> {
    let config = context.config;
    let extra = on_http_port(config.monitoring.on_http_port, monitoring);
    let extra = extra.merge(start_page(config.shop_page.enabled));
    let layers = (cors(&config.http.cors), extra);
    // Who may pass does not change while the service runs.
    let limits = if access.as_ref().is_some_and(Access::reads_bodies) {
        context
            .in_force
            .setting(|config| RequestLimits { keep_bodies: true, ..request_limits(&config.http) })
    } else {
        context.in_force.setting(|config| request_limits(&config.http))
    };
    let limits = (limits, LinkBase::new(&config.http.links), access);
    let state = components.http_state(context);
    tell_listeners(context, &state)?;
    Ok(FastPath::new(state, observer, limits, layers))
}

/// Observes the requests of buyers and operators.
fn observer(
    context: &BuildContext<'_>,
    readiness: &Arc<Readiness>,
    monitoring: &Monitoring,
) -> Result<Observer, AppError> {
    let config = context.config;
    let readiness = Arc::clone(readiness);
    let mut labels = routes();
    if config.admin.port.is_some() {
        labels.extend(admin_routes());
    }
    Ok(Observer::new(
        HttpMetrics::register(context.registry, labels, monitoring.exemplars.clone())?,
        context.in_force.setting(|config| config.log.all_requests),
        context.instance.name.clone(),
        move || readiness.is_draining(),
        (announcement(&config.http.v1), config.http.tls.is_some()),
    ))
}

fn request_limits(config: &HttpConfig) -> RequestLimits {
    RequestLimits {
        max_head_bytes: config.max_head_bytes,
        max_body_bytes: config.max_body_bytes,
        keep_bodies: false,
        body_timeout: config.body_read_timeout,
    }
}

/// Tells listeners what changes, until the servers stop: their streams end then, and the stop does not wait for them.
fn tell_listeners(context: &BuildContext<'_>, state: &HttpState) -> Result<(), AppError> {
    let (tasks, live) = (context.tasks, &state.cells.home().live);
    register_live_listeners(context.registry, live)?;
    tasks.background.every("tell listeners", TICK, live, |it| async move { it.tell().await });
    let (_, stop) = tasks.servers.scope();
    let live = Arc::clone(live);
    tasks.servers.run(async move {
        stop.cancelled().await;
        live.close();
    });
    Ok(())
}

fn limits(config: &HttpConfig) -> ServerLimits {
    ServerLimits {
        connections: config.max_connections,
        header_read_timeout: config.header_read_timeout,
        idle_timeout: config.idle_timeout,
        head_bytes: config.max_head_bytes,
        streams: config.max_streams,
        write_timeout: config.write_timeout,
        close_timeout: config.request_timeout + CLOSE_MARGIN,
    }
}

/// Loads the certificate and starts the task that reloads it.
fn tls(context: &BuildContext<'_>) -> Result<Option<Tls>, AppError> {
    let Some(config) = &context.config.http.tls else {
        return Ok(None);
    };
    let tls = Tls::load(config)?;
    let (tasks, reloaded) = (&context.tasks.background, Arc::new(tls.clone()));
    tasks.every("read the certificate", config.reload_interval, &reloaded, |it| async move {
        it.reload()
    });
    Ok(Some(tls))
}

fn monitoring(
    context: &BuildContext<'_>,
    components: &Components,
    readiness: &Arc<Readiness>,
) -> Result<Monitoring, AppError> {
    let health = HealthReport::new(
        vec![
            Arc::new(PostgresHealth::new(components.cell.database.clone())),
            Arc::new(RedisHealth::new(components.shared.redis.clone())),
            Arc::new(TimeZoneHealth::new(
                Arc::clone(&components.cell.time_zones),
                context.in_force.setting(|config| config.schedule.time_zone_name().to_owned()),
            )),
            Arc::<ReloadStatus>::clone(&components.reloads),
        ],
        Arc::clone(readiness),
        context.in_force.setting(|config| config.monitoring.check_timeout),
    );
    let replicas = components.cell.replicas.watched().map(|replica| {
        let check: Arc<dyn HealthCheck> = Arc::new(ReplicaHealth::new(Arc::clone(replica)));
        check
    });
    // Front ends need not know their addresses.
    let health = health.and_for_operators(replicas.collect());
    let database = components.cell.database.clone();
    let sale_cache = Arc::clone(&components.cell.sale_cache);
    let cached = SaleCacheMetrics::register(context.registry)?;
    let tasks = TaskCount::register(context.registry)?;
    let read_cache = components.shared.read_cache.clone();
    let before_scrape = Arc::new(move || {
        database.observe_pool();
        if let Some(cache) = &read_cache {
            cache.observe();
        }
        cached.observe(sale_cache.usage());
        tasks.observe();
    });
    let exemplars = context.config.telemetry.otlp.is_some().then(Exemplars::default);
    Ok(Monitoring { registry: context.registry.clone(), health, exemplars, before_scrape })
}

/// Monitoring endpoints on the port for front ends: health for front ends, metrics for developers.
fn on_http_port(with_metrics: bool, monitoring: &Monitoring) -> Router {
    let health = monitoring.clone();
    let router = Router::new().route("/health", get(move || health_endpoint(health.clone())));
    if !with_metrics {
        return router;
    }
    let monitoring = monitoring.clone();
    router.route("/metrics", get(async move |headers: HeaderMap| exposition(&monitoring, &headers)))
}

async fn bind(
    name: &str,
    (host, port): (&str, u16),
    limits: Setting<ServerLimits>,
    tls: Option<Tls>,
) -> Result<Server, AppError> {
    let bound = Server::bind(name, (host, port), limits, tls).await;
    bound.map_err(|error| AppError::Listen(format!("{host}:{port}"), error))
}
