//! What listens: one port for buyers, one for operators.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use hyper::body::Incoming;
use prometheus::Registry;
use tower::ServiceExt;

use super::parts::Parts;
use super::{App, AppError, Instance};
use crate::config::Config;
use crate::infrastructure::cache::RedisHealth;
use crate::infrastructure::http::{
    Front, HttpMetrics, Observer, RequestLimits, Server, ServerLimits, Tls, announcement, cors,
};
use crate::infrastructure::monitoring::{
    HealthReport, Monitoring, TaskCount, exposition, health_endpoint,
};
use crate::infrastructure::persistence::PostgresHealth;

/// What ending a connection may take beyond its last request.
const CLOSE_MARGIN: Duration = Duration::from_secs(1);

/// Binds both ports and serves.
pub(crate) async fn listen(
    parts: &Parts,
    config: &Config,
    registry: &Registry,
    (app, instance): (&App, &Instance),
) -> Result<(), AppError> {
    let monitoring = monitoring(parts, config, registry, app)?;
    let readiness = Arc::clone(&app.readiness);
    let observer = Observer::new(
        HttpMetrics::register(registry)?,
        config.log.all_requests,
        instance.name.clone(),
        move || readiness.is_draining(),
        (announcement(&config.http.v1), config.http.tls.is_some()),
    );
    let requests = RequestLimits {
        max_head_bytes: config.http.max_head_bytes,
        max_body_bytes: config.http.max_body_bytes,
        body_timeout: config.http.body_read_timeout,
    };
    let extra = on_http_port(config.monitoring.on_http_port, &monitoring);
    let front = Front::new(parts.api.clone(), observer, requests, (cors(&config.http.cors), extra));
    let limits = ServerLimits {
        connections: config.http.max_connections,
        header_read_timeout: config.http.header_read_timeout,
        head_bytes: config.http.max_head_bytes,
        streams: config.http.max_streams,
        write_timeout: config.http.write_timeout,
        close_timeout: config.http.request_timeout + CLOSE_MARGIN,
    };
    let address = (config.http.host.as_str(), config.http.port);
    let tls = config.http.tls.as_ref().map(Tls::load).transpose()?;
    if let (Some(tls), Some(config)) = (&tls, &config.http.tls) {
        reload(tls, config.reload_interval, app);
    }
    let server = bind("http", address, limits, tls).await?;
    let (_, stop) = app.servers.scope();
    app.servers.run(server.serve(move |request| front.clone().answer(request), stop));
    let address = (config.monitoring.host.as_str(), config.monitoring.port);
    let server = bind("monitoring", address, limits, None).await?;
    let router = monitoring.router();
    let (_, stop) = app.monitoring.scope();
    let answer = move |request: Request<Incoming>| router.clone().oneshot(request.map(Body::new));
    app.monitoring.run(server.serve(answer, stop));
    Ok(())
}

/// Reads the certificate again and again.
fn reload(tls: &Tls, interval: Duration, app: &App) {
    let tls = tls.clone();
    app.chores.every("read the certificate", interval, move || {
        let tls = tls.clone();
        async move { tls.reload() }
    });
}

fn monitoring(
    parts: &Parts,
    config: &Config,
    registry: &Registry,
    app: &App,
) -> Result<Monitoring, AppError> {
    let health = HealthReport::new(
        vec![
            Arc::new(PostgresHealth::new(parts.database.clone())),
            Arc::new(RedisHealth::new(parts.redis.clone())),
        ],
        Arc::clone(&app.readiness),
        config.monitoring.check_timeout,
    );
    let database = parts.database.clone();
    let tasks = TaskCount::register(registry)?;
    let before_scrape = Arc::new(move || {
        database.observe_pool();
        tasks.observe();
    });
    Ok(Monitoring { registry: registry.clone(), health, before_scrape })
}

/// What front ends and developers find on the buyers' port too.
fn on_http_port(with_metrics: bool, monitoring: &Monitoring) -> Router {
    let health = monitoring.clone();
    let router = Router::new().route("/health", get(move || health_endpoint(health.clone())));
    if !with_metrics {
        return router;
    }
    let monitoring = monitoring.clone();
    router.route("/metrics", get(async move || exposition(&monitoring)))
}

async fn bind(
    name: &str,
    (host, port): (&str, u16),
    limits: ServerLimits,
    tls: Option<Tls>,
) -> Result<Server, AppError> {
    let bound = Server::bind(name, (host, port), limits, tls).await;
    bound.map_err(|error| AppError::Listen(format!("{host}:{port}"), error))
}
